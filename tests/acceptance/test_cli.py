"""The command line, run as people run it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import jwt
import pytest

import taketurns
from support.api_server import SECRET, shop
from support.command import COMMAND, SHOP, WITHIN, assert_one_line, run, run_without, started
from support.workers import environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taketurns.settings import Settings


def test_version_and_help(tmp_path: Path) -> None:
    """--version tells the package's version, --help the commands and how to use them."""
    assert run("--version", cwd=tmp_path).stdout == f"taketurns {taketurns.__version__}\n"
    text = run("--help", cwd=tmp_path).stdout
    for word in (
        "api",
        "reaper",
        "token",
        "tenants",
        "status",
        "doctor",
        "dead",
        "workers",
        "services",
        "--app",
        "--config",
        "taketurns -A shop",
    ):
        assert word in text


def test_an_error_is_one_line(tmp_path: Path) -> None:
    """What went wrong is told in one line on stderr, without a traceback, and the exit code is 1."""
    assert_one_line(run("-A", "shop", "reaper", cwd=tmp_path), r"-A shop: there is no module 'shop' .*")


@pytest.mark.parametrize("command", ["worker", "beat"])
def test_celerys_own_commands_tell_a_misspelt_setting_in_one_line(command: str, tmp_path: Path) -> None:
    """With the nearest right name, and no traceback of what imported the app."""
    (tmp_path / "shop.py").write_text(SHOP)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TAKETURNS_")}
    result = subprocess.run(  # our own command
        [COMMAND.with_name("celery"), "-A", "shop", command],
        cwd=tmp_path,
        env={**clean, "TAKETURNS_WORKER_MAX_CREDITS": "3"},
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    assert_one_line(
        result,
        "TAKETURNS_WORKER_MAX_CREDITS in the environment is no setting, "
        r"did you mean TAKETURNS_WORKER_MAX_CREDIT\?",
    )


def test_the_config_file_is_read_because_it_is_named(tmp_path: Path) -> None:
    """--config gives the settings, also those that the app's module reads when it is imported."""
    (tmp_path / "config.env").write_text(f"TAKETURNS_API_JWT_SECRET={SECRET}\nTAKETURNS_REDIS_PREFIX=mine\n")
    (tmp_path / "shop.py").write_text(
        SHOP + "import sys; sys.stderr.write(app.taketurns.settings.redis.redis_prefix)"
    )
    assert run("token", "acme", cwd=tmp_path).returncode == 1, "the file was read without being named"
    result = run("--config", "config.env", "-A", "shop", "token", "acme", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == "mine"
    assert_one_line(run("--config", "none.env", "token", "acme", cwd=tmp_path), r"there is no .*none\.env'")


INTERRUPTED = """
import os, signal, sys
class CtrlC:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, CtrlC())
from taketurns.cli import main
main()
"""


@pytest.mark.parametrize(
    ("command", "module"),
    [
        *[(["api", "--port", "0"], module) for module in ("kombu", "typer", "celery", "fastapi", "shop")],
        *[(["reaper", "--once"], module) for module in ("kombu", "typer", "celery", "shop")],
    ],
)
def test_ctrl_c_at_the_start_is_quiet(command: list[str], module: str, tmp_path: Path) -> None:
    """Ctrl-C while a command is still importing ends it with 130 and without a word, let alone a traceback."""
    (tmp_path / "shop.py").write_text(SHOP)
    result = subprocess.run(  # our own program
        [sys.executable, "-c", INTERRUPTED.format(module=module), "-A", "shop", *command],
        cwd=tmp_path,
        env={**os.environ, "TAKETURNS_API_JWT_SECRET": SECRET},
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


# ---- token


def test_a_token_is_all_that_is_printed(tmp_path: Path) -> None:
    """Stdout has the token alone, signed with the secret of the settings, valid for the hours asked for."""
    options = ("--operator", "--hours", "2")
    result = run("token", "acme", *options, cwd=tmp_path, TAKETURNS_API_JWT_SECRET=SECRET)
    assert (result.returncode, result.stderr) == (0, "")
    claims = jwt.decode(result.stdout.removesuffix("\n"), SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["role"]) == ("acme", "operator")
    assert claims["exp"] - claims["iat"] == 2 * 3600


# ---- extras


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("typer", ["--help"], "cli"),
        ("fastapi", ["-A", "shop", "api"], "api"),
        ("jwt", ["token", "acme"], "api"),
    ],
)
def test_a_missing_extra_says_what_to_install(
    missing: str, arguments: list[str], extra: str, tmp_path: Path
) -> None:
    """Without the packages of an extra the message is the command that installs them."""
    result = run_without(missing, *arguments, cwd=tmp_path)
    assert_one_line(
        result, rf"the package '{missing}' is not installed: pip install \"taketurns\[{extra}\]\""
    )


@pytest.mark.parametrize("arguments", [["services", "status"], ["token", "acme"]])
def test_commands_beside_the_api_do_not_need_its_packages(arguments: list[str], tmp_path: Path) -> None:
    """Tokens and services work where FastAPI is not installed."""
    result = run_without("fastapi", *arguments, cwd=tmp_path)
    assert result.stdout
    assert "fastapi" not in result.stderr


# ---- reaper


def test_a_dry_run_says_why_each_queue_would_go_or_stay(settings: Settings, tmp_path: Path) -> None:
    """A table for people, JSON for programs; nothing is removed. Then one run removes what it said."""
    turns = shop(settings)
    for tenant in ("acme", "beta"):
        turns.publisher.ensure(tenant)
    turns.app.tasks["shop.anything"].apply_async(tenant="beta")
    turns.close()
    (tmp_path / "shop.py").write_text(SHOP)
    variables = environment(settings, TAKETURNS_REAPER_IDLE_TIME="0")

    def reap(*options: str) -> str:
        result = run("-A", "shop", "reaper", *options, cwd=tmp_path, **variables)
        assert result.returncode == 0, result.stderr
        return result.stdout

    table = reap("--dry-run")
    assert re.search(r"^ acme +usersequence_acme +go +idle for .*$", table, re.MULTILINE), table
    assert re.search(r"^ beta +usersequence_beta +stay +1 message *$", table, re.MULTILINE), table
    assert sorted(turns.management.tenant_queues()) == ["usersequence_acme", "usersequence_beta"]
    assert json.loads(reap("--once", "--json"))["reaped"]["decisions"][0]["remove"] is True
    assert sorted(turns.management.tenant_queues()) == ["usersequence_beta"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_reaper_stops_when_told(
    number: signal.Signals, settings: Settings, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """SIGTERM and Ctrl-C end the reaper with 0, and another one may follow at once."""
    turns = shop(settings)
    turns.publisher.ensure("acme")
    (tmp_path / "shop.py").write_text(SHOP)
    variables = environment(settings, TAKETURNS_REAPER_IDLE_TIME="0", TAKETURNS_REAPER_INTERVAL="60")
    with started("-A", "shop", "reaper", cwd=tmp_path, env=variables) as process:
        eventually(lambda: not turns.management.tenant_queues(), within=WITHIN)
        process.send_signal(number)
        _, log = process.communicate(timeout=WITHIN)
    assert process.returncode == 0, log
    assert "Traceback" not in log
    assert turns.registry.lead("reaper", "another", ttl=1)
    turns.close()


def test_the_doctor(settings: Settings, tmp_path: Path) -> None:
    """It tells a line or more of each thing, for people or as JSON; a problem makes it exit with 1, a warning not."""
    (tmp_path / "shop.py").write_text(SHOP)
    variables = {
        name: value for name, value in environment(settings).items() if name.startswith("TAKETURNS_")
    }
    well = run("-A", "shop", "doctor", cwd=tmp_path, **variables)
    assert (well.returncode, well.stderr) == (0, "")
    assert re.search(r"^ *ok +RabbitMQ +\d+\.\d+\.\d+ answers, vhost", well.stdout, re.MULTILINE)
    assert re.search(r"^ *warning +reaper +none is active *\n +→ start one", well.stdout, re.MULTILINE)
    away = {**variables, "TAKETURNS_REDIS_URL": "redis://127.0.0.1:1/0"}
    ill = run("-A", "shop", "doctor", "--json", cwd=tmp_path, **away)
    assert (ill.returncode, ill.stderr) == (1, "")
    findings = json.loads(ill.stdout)
    assert {tuple(each) for each in findings} == {("check", "level", "found", "advice")}
    assert [each["check"] for each in findings if each["level"] == "problem"] == ["Redis"]
