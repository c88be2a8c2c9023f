"""``taketurns schedules``: all its commands, on real servers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from support.command import assert_one_line, parsed

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from taketurns import TakeTurns

    Run = Callable[..., subprocess.CompletedProcess[str]]

NIGHTLY = ("acme", "nightly", "shop.thumbnail", "--args", '["i-1"]')
NO_BEAT = "No beat runs, so nothing is submitted; start one: celery -A APP beat\n"


def test_schedules_for_people(taketurns: Run, turns: TakeTurns) -> None:
    """Each command says what it did, and that no beat runs, while none does."""
    made = taketurns("schedules", "create", *NIGHTLY, "--cron", "30 2 * * *", "--timezone", "Europe/Berlin")
    assert made.returncode == 0, made.stderr
    assert re.search(r"when +30 2 \* \* \* Europe/Berlin", made.stdout), made.stdout
    assert made.stderr == NO_BEAT
    assert taketurns("schedules", "show", "acme", "nightly").stdout == made.stdout
    assert turns.registry.lead("beat", "somebody", 60)
    listed = taketurns("schedules", "list", "acme")
    assert re.search(r"acme +nightly +shop.thumbnail +30 2 \* \* \* Europe/Berlin +\d{4}-", listed.stdout)
    assert listed.stderr == ""
    assert taketurns("schedules", "pause", "acme", "nightly").stdout == "acme/nightly is paused.\n"
    assert "paused" in taketurns("schedules", "list").stdout
    assert taketurns("schedules", "resume", "acme", "nightly").stdout == "acme/nightly is resumed.\n"
    changed = taketurns("schedules", "set", "acme", "nightly", "--every", "12h", "--missed", "once")
    assert re.search(r"when +every 12h", changed.stdout), changed.stdout
    assert taketurns("schedules", "remove", "acme", "nightly").stdout == "acme/nightly is removed.\n"
    assert taketurns("schedules", "list").stderr == "There are no schedules.\n"


def test_schedules_for_programs(taketurns: Run, turns: TakeTurns) -> None:
    """--json prints the same as the HTTP API."""
    made = parsed(taketurns("schedules", "create", *NIGHTLY, "--every", "30s", "--paused", "--json"))
    assert (made["every"], made["args"], made["paused"], made["next_due_at"]) == ("30s", ["i-1"], True, None)
    assert parsed(taketurns("schedules", "show", "acme", "nightly", "--json")) == made
    assert parsed(taketurns("schedules", "list", "--json")) == {"schedules": [made], "beat": False}
    assert parsed(taketurns("schedules", "list", "bolt", "--json"))["schedules"] == []
    assert parsed(taketurns("schedules", "resume", "acme", "nightly", "--json"))["next_due_at"]
    assert parsed(taketurns("schedules", "pause", "acme", "nightly", "--json"))["paused"]
    change = ("schedules", "set", "acme", "nightly", "--json")
    given = ("--kwargs", '{"size": 3}', "--priority", "low", "--expires", "600")
    changed = parsed(taketurns(*change, *given))
    assert changed["kwargs"] == turns.schedules.get("acme", "nightly").kwargs == {"size": 3}
    assert (changed["priority"], changed["expires"]) == ("low", 600.0)
    changed = parsed(taketurns(*change, "--priority", "none", "--expires", "none"))
    assert (changed["priority"], changed["expires"]) == (None, None)
    removed = parsed(taketurns("schedules", "remove", "acme", "nightly", "--json"))
    assert removed == {"tenant": "acme", "name": "nightly", "removed": True}


@pytest.mark.parametrize("command", ["show", "pause", "resume", "remove", "set --every 1h"])
def test_what_is_not_there_is_a_failure(command: str, taketurns: Run) -> None:
    name, *options = command.split()
    for json_too in ([], ["--json"]):
        result = taketurns("schedules", name, "acme", "nightly", *options, *json_too)
        assert_one_line(result, "tenant 'acme' has no schedule 'nightly'")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--cron", "* * *"), r"cron: '\* \* \*' is not valid; accepted is five fields: .*"),
        (("--every", "soon"), "every: 'soon' is not valid; accepted is a whole number and one of s, m, .*"),
        (("--cron", "* * * * *", "--timezone", "Mars"), "timezone: 'Mars' is not valid; .*"),
        (("--every", "1s", "--missed", "maybe"), "missed: 'maybe' is not valid; accepted is skip, once, all"),
        (("--every", "1s", "--expires", "1h"), "expires: '1h' is not valid; accepted is a number of .*"),
        (("--every", "1s", "--args", "[1, 2, 3]"), r"args: \[1, 2, 3\] is not valid; .*"),
    ],
)
def test_what_is_no_schedule_is_refused(
    arguments: tuple[str, ...], says: str, taketurns: Run, turns: TakeTurns
) -> None:
    assert_one_line(taketurns("schedules", "create", *NIGHTLY, *arguments, "--json"), says)
    assert turns.schedules.list() == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("create", *NIGHTLY), "give either --cron or --every"),
        (("create", *NIGHTLY, "--every", "1s", "--cron", "* * * * *"), "give either --cron or --every"),
        (("set", *NIGHTLY[:2], "--every", "1s", "--cron", "* * * * *"), "give either --cron or --every"),
        (("create", *NIGHTLY, "--every", "1s", "--priority", "urgent"), "Invalid value for '--priority'"),
        (("create", *NIGHTLY, "--every", "1s", "--args", "{}"), "Invalid value for --args"),
        (("create", *NIGHTLY, "--every", "1s", "--kwargs", "["), "Invalid value for --kwargs"),
    ],
)
def test_what_can_not_be_meant_is_told_with_the_usage(
    arguments: tuple[str, ...], says: str, taketurns: Run, turns: TakeTurns
) -> None:
    result = taketurns("schedules", *arguments, "--json")
    assert (result.returncode, result.stdout) == (2, "")
    assert says in " ".join(result.stderr.split())
    assert turns.schedules.list() == []


def test_each_command_has_an_example(taketurns: Run) -> None:
    for command in ("create", "set", "list", "show", "pause", "resume", "remove"):
        told = taketurns("schedules", command, "--help")
        assert f"Example: taketurns -A shop schedules {command}" in " ".join(told.stdout.split())
    assert json.loads(taketurns("schedules", "list", "--json").stdout) == {"schedules": [], "beat": False}


def test_a_change_says_what_changes(taketurns: Run) -> None:
    result = taketurns("schedules", "set", "acme", "nightly")
    assert result.returncode == 2
    assert "say what to change" in result.stderr
