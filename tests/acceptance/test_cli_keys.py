"""API keys on the command line, run as people run it, on real servers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from support.command import SHOP, assert_one_line, run
from support.workers import environment
from taketurns.registry.api_keys import ApiKeys
from taketurns.store import Store

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from taketurns.settings import Settings

    Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def keys(settings: Settings, tmp_path: Path) -> Run:
    """Return a function that runs ``taketurns -A shop keys ARGUMENTS``."""
    (tmp_path / "shop.py").write_text(SHOP)
    own = environment(settings)
    return lambda *arguments: run("-A", "shop", "keys", *arguments, cwd=tmp_path, **own)


@pytest.fixture
def api_keys(settings: Settings) -> Iterator[ApiKeys]:
    with Store(settings.redis) as store:
        yield ApiKeys(store)


def test_a_key_is_made_listed_and_revoked(keys: Run, api_keys: ApiKeys) -> None:
    """It is printed once, alone on standard output; the list has what is known of it, and never the key."""
    made = keys("create", "acme", "--name", "nightly import", "--expires", "90d")
    assert made.returncode == 0, made.stderr
    text = made.stdout.strip()
    key = api_keys.find(text)
    assert key is not None
    assert (key.tenant, key.operator, key.name) == ("acme", False, "nightly import")
    assert key.expires_at == pytest.approx(key.created_at + 90 * 86_400)
    assert key.id in made.stderr
    listed = keys("list").stdout
    assert re.search(rf"{key.id} +acme +nightly import +\d{{4}}-", listed), listed
    assert text.split("_")[2] not in listed
    assert keys("revoke", key.id).returncode == 0
    assert api_keys.find(text) is None
    assert_one_line(keys("revoke", key.id), f"there is no API key of the id '{key.id}'; .*")
    assert "no API keys" in keys("list").stderr


def test_keys_for_programs(keys: Run, api_keys: ApiKeys) -> None:
    """--json prints the same facts as JSON."""
    made = json.loads(keys("create", "root", "--operator", "--json").stdout)
    text = made.pop("key")
    key = api_keys.find(text)
    assert key is not None
    assert key.operator
    assert json.loads(keys("list", "--json").stdout) == [made]
    assert json.loads(keys("revoke", key.id, "--json").stdout) == {"id": key.id, "revoked": True}


@pytest.mark.parametrize("expires", ["0d", "90", "1.5d", "-1d", "9999d", "soon"])
def test_a_wrong_duration_makes_no_key(expires: str, keys: Run, api_keys: ApiKeys) -> None:
    assert_one_line(
        keys("create", "acme", f"--expires={expires}"), f"--expires: '{expires}' is not valid; .*"
    )
    assert api_keys.all() == []
