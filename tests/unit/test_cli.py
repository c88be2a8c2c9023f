"""What the command line says of an app or of settings that can't be used."""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import TYPE_CHECKING

import pytest

from taketurns.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SHOP = """
from celery import Celery
from taketurns import TakeTurns
app = Celery("shop")
TakeTurns(app)
"""
PLAIN = """
from celery import Celery
app = Celery("plain")
"""


@pytest.fixture
def fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., None]]:
    """Return a function that runs the command line and checks its exit code and all that it says."""
    logger = logging.getLogger("taketurns.store")
    level = logger.level  # a command that does one thing and ends quietens it, in this process too
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")
    for name in [name for name in os.environ if name.startswith("TAKETURNS_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str, says: str, code: int = 1) -> None:
        monkeypatch.setattr(sys, "argv", ["taketurns", *arguments])
        monkeypatch.delitem(sys.modules, "shop", raising=False)
        with pytest.raises(SystemExit) as end:
            main()
        sys.modules.pop("shop", None)
        output = capsys.readouterr()
        assert end.value.code == code, output.err
        assert output.out == ""
        if code == 1:
            assert re.fullmatch(rf"taketurns: {says}\n", output.err), output.err
        assert re.search(says, output.err), output.err

    yield run
    logger.setLevel(level)


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        (None, "shop", r"-A shop: there is no module 'shop' here or on sys\.path"),
        (None, "shop.celery:app", r"-A shop\.celery:app: there is no module 'shop' here or on sys\.path"),
        ("x = 1", "shop", r"-A shop: no Celery app found there; name it: -A shop:ATTRIBUTE"),
        (SHOP, "shop:nope", r"-A shop:nope: no Celery app found there; name it: -A shop:ATTRIBUTE"),
        ("x = 1", "shop:x", r"-A shop:x: that is no Celery app but of type int"),
        (
            "\nx = 1 / 0",
            "shop",
            r"-A shop: importing it failed: ZeroDivisionError: .* \(.*shop\.py, line 2\)",
        ),
        (
            "import nosuch",
            "shop",
            r"-A shop: importing it failed: ModuleNotFoundError: No module named 'nosuch' .*",
        ),
        ("def (", "shop", r"-A shop: importing it failed: SyntaxError: .* \(.*shop\.py, line 1\)"),
        (
            "import os; os.x",
            "shop",
            r"-A shop: importing it failed: AttributeError: .*'x'.*shop\.py, line 1\)",
        ),
        (PLAIN, "shop", r".*plain.*call TakeTurns\(app\) where the app is created"),
    ],
)
def test_an_app_that_can_not_be_used_is_told_in_one_line(
    module: str | None, name: str, expected: str, tmp_path: Path, fails: Callable[..., None]
) -> None:
    """What is wrong with -A is told in one line that names it."""
    if module is not None:
        (tmp_path / "shop.py").write_text(module)
    fails("-A", name, "reaper", says=expected)


@pytest.mark.parametrize("command", ["api", "reaper", "status", "tenants list", "tenants show acme"])
def test_commands_that_need_an_app_say_so(command: str, fails: Callable[..., None]) -> None:
    """Without -A the message says where it goes."""
    fails(*command.split(), says=r"this needs your Celery app; .*taketurns -A shop \.\.\.")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {"TAKETURNS_REDIS_TIMEOUTT": "1"},
            r"TAKETURNS_REDIS_TIMEOUTT .* did you mean TAKETURNS_REDIS_TIMEOUT\?",
        ),
        ({"TAKETURNS_REDIS_TIMEOUT": "soon"}, r"TAKETURNS_REDIS_TIMEOUT: .*valid number.*"),
        ({"TAKETURNS_AMQP_URL": "redis://127.0.0.1"}, r"TAKETURNS_AMQP_URL: .*amqp:// or amqps://"),
        ({}, r"TAKETURNS_API_JWT_SECRET is not set; .* Make a secret with: .*"),
        ({"TAKETURNS_API_JWT_SECRET": "x" * 31}, r"TAKETURNS_API_JWT_SECRET is only 31 bytes long; .*"),
    ],
)
def test_settings_that_can_not_be_used_are_told_in_one_line(
    variables: dict[str, str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[..., None],
) -> None:
    """Wrong settings stop the API before it listens, and name themselves."""
    (tmp_path / "shop.py").write_text(SHOP)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    fails("-A", "shop", "api", says=expected)


def test_a_token_needs_a_tenant_id(fails: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant id of another form is refused with the accepted one."""
    monkeypatch.setenv("TAKETURNS_API_JWT_SECRET", "x" * 32)
    fails("token", "a b", says=r"tenant: 'a b' is not valid; accepted is 1 to 128 characters .*")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--rate", "often"], r"rate_limit: 'often' is not valid; accepted is count/period.*"),
        (["--weight", "0"], r"weight: 0\.0 is not valid; .*"),
        (["--max-concurrency", "0"], r"--max-concurrency: '0' is not valid; .* or none"),
        (["--max-concurrency", "few"], r"--max-concurrency: 'few' is not valid; .* or none"),
        (["--max-backlog", "0"], r"--max-backlog: '0' is not valid; .* or none"),
        (
            ["--max-backlog", "9" * 5000],
            r"--max-backlog: '9+… is not valid; .* from 1 to 2147483647, or none",
        ),
        (["--tag", "plan"], r"--tag: 'plan' is not valid; accepted is key=value, such as plan=pro"),
        (["--tag", "a b=c"], r"--tag: 'a b' is not valid; accepted is a key of 1 to 63 characters .*"),
        (["--tag", "a=1", "--tag", "a=2"], r"--tag: 'a=2' is not valid; .* 'a' was given already"),
        (["--tag", "a=1", "--untag", "a"], r"--untag: 'a' is not valid; .*"),
        (["--untag", "a b"], r"--untag: 'a b' is not valid; .*"),
        (
            ["--priority-rate", "urgent=1/1s"],
            r"--priority-rate: 'urgent=1/1s' is not valid; .* low, normal, high.*",
        ),
        (["--priority-rate", "high=often"], r"--priority-rate: 'often' is not valid; .*"),
        (["--task-rate", "shop.mail"], r"--task-rate: 'shop.mail' is not valid; .* shop.mail=10/1s"),
        (["--task-rate", "shop.mail=often"], r"--task-rate: 'often' is not valid; .*"),
        (["--metadata", "{"], r"metadata: '\{' is not valid; accepted is a JSON object of at most 16 KiB.*"),
    ],
)
def test_a_setting_of_another_form_is_told_in_one_line(
    options: list[str], says: str, tmp_path: Path, fails: Callable[..., None]
) -> None:
    """The line names what was wrong and what is accepted, before any server is asked."""
    (tmp_path / "shop.py").write_text(SHOP)
    fails("-A", "shop", "tenants", "set", "acme", *options, says=says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["reaper", "--json"], "--once or --dry-run"),
        (["nonsense"], "No such command 'nonsense'"),
        (["tenants", "set", "acme"], "give at least one option"),
        (["token"], "Missing argument 'TENANT'"),
        (["token", "acme", "--hours", "0"], "--hours"),
        (["api", "--port", "65536"], "--port"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], says: str, fails: Callable[..., None]) -> None:
    """What the command line does not know is told with its usage."""
    fails(*arguments, says=says, code=2)
