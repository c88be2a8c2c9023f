"""The monitor: once, and live on a terminal, on real servers and with a real worker."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from functools import partial
from typing import TYPE_CHECKING

import pytest

from support.command import COMMAND, SHOP, WITHIN, assert_one_line, parsed
from support.terminal import on_terminal
from support.workers import environment, worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Run = Callable[..., subprocess.CompletedProcess[str]]
    Eventually = Callable[..., None]

REDIS_AWAY = {"TAKETURNS_REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.fixture
def command(taketurns: Run) -> Run:
    """Return a function that runs ``taketurns -A APP monitor ARGUMENTS``."""
    return partial(taketurns, "monitor")


def test_all_tenants_are_seen_once(
    command: Run, turns: TakeTurns, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """Each with its tasks, its rate and its state, the busiest first, below servers and workers."""
    nap = turns.app.tasks["shop.nap"]
    turns.update("held", paused=True)
    turns.update("limited", rate_limit="1/1h")
    turns.update("idle", weight=2)
    for tenant, count in (("held", 3), ("limited", 3), ("quick", 2)):
        for _ in range(count):
            nap.apply_async((0,), tenant=tenant)
    nap.apply_async(("wrong",), tenant="quick")
    nap.apply_async((60,), tenant="slow")
    with worker(settings, tmp_path, "-P", "threads", "-c", "2", app="support.api_app") as this:

        def seen() -> dict[str, tuple[object, ...]]:
            tenants = parsed(command("--once", "--json"))["tenants"]
            columns = ("waiting", "running", "completed", "failed", "state")
            return {each["tenant"]: tuple(each[name] for name in columns) for each in tenants}

        expected = {
            "held": (3, 0, 0, 0, "paused"),
            "limited": (2, 0, 1, 0, "throttled"),
            "slow": (0, 1, 0, 0, "running"),
            "idle": (0, 0, 0, 0, "idle"),
            "quick": (0, 0, 2, 1, "idle"),
        }
        eventually(lambda: seen() == expected, within=20)
        found = parsed(command("--once", "--json"))
        assert [each["name"] for each in found["system"]["workers"]] == [this.name]
        assert (found["total"], found["system"]["dead"]) == (5, 1)
        assert [each["tenant"] for each in found["tenants"]] == ["held", "limited", "slow", "idle", "quick"]
        limited = found["tenants"][1]
        assert limited["rate_limit"] == "1/1h"
        assert limited["tokens"] < 1
        assert 3000 < limited["next_token_in"] <= 3600
        text = command("--once", "--sort", "done", "--limit", "2").stdout
        assert re.match(
            r"RabbitMQ [0-9.]+  management API [0-9.]+  Redis [0-9.]+  1 worker  ..:..:..\n", text
        )
        assert (
            "tenants 5  paused 1  throttled 1  queued 5  held or running 1  dead letters 1  lost 0\n" in text
        )
        rows = re.findall(r"^ (\w+) +\d.*$", text, re.MULTILINE)
        assert rows == ["quick", "limited"]
        assert re.search(r"^ limited +2 +0 +1 +0 +1/1h +0\.\d +\d+ min +throttled *$", text, re.MULTILINE), (
            text
        )
        this.process.kill()  # its nap is long


def test_a_server_that_is_away_is_named(command: Run, turns: TakeTurns) -> None:
    """What can be told without it is told all the same, and the exit code is 1."""
    turns.app.tasks["shop.nap"].apply_async((0,), tenant="acme")
    result = command("--once", "--json", **REDIS_AWAY)
    assert (result.returncode, result.stderr) == (1, "taketurns: Redis can't be reached\n")
    found = json.loads(result.stdout)
    assert [(each["tenant"], each["waiting"], each["completed"]) for each in found["tenants"]] == [
        ("acme", None, None)
    ] or found["tenants"][0]["waiting"] == 1
    text = command("--once", **REDIS_AWAY).stdout
    assert re.search(r"^RabbitMQ [0-9.]+  management API [0-9.]+  Redis away  workers unknown", text)
    assert re.search(
        r"^Redis: Redis failed .*; see that it runs and that TAKETURNS_REDIS_URL", text, re.MULTILINE
    )


def test_it_is_said_how_to_use_it(command: Run) -> None:
    """Without a terminal it can't be live; --help has an example."""
    assert_one_line(command(), "a live view needs a terminal; say --once to look once, or --json")
    assert command("--interval", "0", "--once").returncode == 2
    assert "Example: taketurns -A shop monitor" in " ".join(command("--help").stdout.split())


def test_programs_get_a_line_of_json_for_each_look(
    turns: TakeTurns, settings: Settings, tmp_path: Path
) -> None:
    """Until they have enough."""
    (tmp_path / "shop.py").write_text(SHOP)
    words = ("-A", "shop", "monitor", "--json", "--interval", "0.2")
    with subprocess.Popen(
        [COMMAND, *words],
        cwd=tmp_path,
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = json.loads(process.stdout.readline())
        turns.update("newcomer", weight=2)
        while not (latest := json.loads(process.stdout.readline()))["tenants"]:
            pass
        process.stdout.close()
        assert process.wait(WITHIN) == 1
        assert process.stderr.read() == b""
    assert first["tenants"] == []
    assert latest["tenants"][0]["tenant"] == "newcomer"
    assert latest["at"] > first["at"]


def test_it_is_live_on_a_terminal(turns: TakeTurns, settings: Settings, tmp_path: Path) -> None:
    """What comes is seen without a key, and Ctrl-C ends it without a word, whatever is away; a narrow one will do."""
    (tmp_path / "shop.py").write_text(SHOP)
    turns.update("acme", rate_limit="5/1m")
    for number in range(30):
        turns.registry.update(f"tenant-{number}", weight=2)
    variables = environment(settings)
    words = ("-A", "shop", "monitor", "--interval", "0.2")
    with on_terminal(*words, cwd=tmp_path, variables=variables, columns=60) as terminal:
        terminal.read_until("acme")
        terminal.read_until(" more")
        assert "newcomer" not in terminal.said
        turns.update("newcomer", weight=2)
        terminal.read_until("newcomer")
        terminal.process.send_signal(signal.SIGINT)
        said = terminal.read_to_the_end()
        assert terminal.process.wait(WITHIN) == 0, said
        assert "Traceback" not in said
