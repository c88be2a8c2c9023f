"""config.env: what it says is what holds without it."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path

import pytest

from taketurns.settings import Settings

CONFIG = Path(__file__).parents[2] / "config.env"
SETTING = re.compile(r"^(#?)(TAKETURNS_\w+)=(.*)$", re.MULTILINE)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the test run's own servers wins over the file."""
    for name in list(os.environ):
        if name.startswith("TAKETURNS_"):
            monkeypatch.delenv(name)


def test_it_lists_exactly_the_settings_in_their_order() -> None:
    """Each setting is there once, commented out just if it has no default."""
    listed = [(name, hash_sign == "") for hash_sign, name, _ in SETTING.findall(CONFIG.read_text())]
    assert listed == [(name, default is not None) for name, default in Settings.names().items()]


def test_every_setting_has_a_comment_above_it() -> None:
    """A line of words precedes each setting."""
    lines = CONFIG.read_text().splitlines()
    for above, line in pairwise(lines):
        if SETTING.match(line):
            assert re.match(r"# [A-Z\"].*[.]$", above), line


def test_it_says_the_defaults() -> None:
    """Settings read from the file are those without any file."""
    assert Settings.load(CONFIG) == Settings.load()


def test_its_examples_are_accepted(tmp_path: Path) -> None:
    """The settings without a default can be used as they stand when the # is taken away."""
    everything = tmp_path / "config.env"
    text = SETTING.sub(r"\2=\3", CONFIG.read_text())
    everything.write_text(re.sub("TAKETURNS_TENANT_KEY_SHARDS=.*", "", text))  # the function excludes it
    settings = Settings.load(everything)
    assert settings.limiter.default_rate_limit == "100/1m"
    assert settings.broker.amqp_url == "amqp://guest:guest@127.0.0.1:5672//"
    assert settings.tenant_key.function == "shop.tenancy:organisation_of"
    assert settings.api.jwt_secret is None
