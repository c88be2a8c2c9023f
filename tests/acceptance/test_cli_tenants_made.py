"""Tenants that are created, counted, tried, purged and removed on the command line, on real servers."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from support.command import assert_one_line, parsed
from support.workers import worker

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Run = Callable[..., subprocess.CompletedProcess[str]]
    Eventually = Callable[..., None]

NOWHERE = "127.0.0.1:1"
BROKER_AWAY = {"TAKETURNS_AMQP_URL": f"amqp://guest:guest@{NOWHERE}//"}
REDIS_AWAY = {"TAKETURNS_REDIS_URL": f"redis://{NOWHERE}/0"}
MANAGEMENT_AWAY = {"TAKETURNS_MANAGEMENT_URL": f"http://guest:guest@{NOWHERE}"}


@pytest.fixture
def command(taketurns: Run) -> Run:
    """Return a function that runs ``taketurns -A APP tenants ARGUMENTS``."""
    return partial(taketurns, "tenants")


def wait_for(turns: TakeTurns, eventually: Eventually, tenant: str, waiting: int) -> None:
    eventually(lambda: turns.stats(tenant).waiting == waiting)


def test_a_tenant_is_created(command: Run, turns: TakeTurns) -> None:
    """With its settings and its queue; without a name it gets one, which is all that is printed."""
    options = ("--rate", "5/1m", "--weight", "2", "--max-concurrency", "3", "--tag", "plan=pro", "--paused")
    made = parsed(command("create", "acme", *options, "--json"))
    expected = {"rate_limit": "5/1m", "weight": 2.0, "max_concurrency": 3, "paused": True, "has_queue": True}
    assert expected.items() <= made.items()
    assert made["tags"] == {"plan": "pro"}
    assert made == parsed(command("show", "acme", "--json"))
    result = command("create", "--rate", "5/1m")
    name = result.stdout.removesuffix("\n")
    assert re.fullmatch(r"batch_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name)
    assert turns.registry.get(name).rate_limit == "5/1m"
    assert {each["tenant"] for each in parsed(command("list", "--json"))} == {"acme", name}
    assert_one_line(command("create", "acme"), "there is a tenant 'acme' already: .*")


def test_a_task_that_waits_for_another_is_listed_and_let_go(taketurns: Run, command: Run) -> None:
    """By hand, as one does whose Redis has forgotten that the other one has succeeded."""
    submitted = partial(command, "submit", "acme", "shop.nap", "--args", "[0]")
    parent = submitted().stdout.strip()
    child = submitted("--depends-on", parent).stdout.strip()
    blocked = parsed(taketurns("tasks", "list", "acme", "--state", "blocked", "--json"))
    assert [(each["task_id"], each["depends_on"]) for each in blocked] == [(child, [parent])]
    assert parent in taketurns("tasks", "show", "acme", child).stdout
    assert_one_line(submitted("--depends-on", "unknown"), "depends_on: 'unknown' is not valid; .*")
    assert parsed(taketurns("tasks", "release", "acme", parent, "--yes", "--json")) == {"released": 1}
    assert parsed(taketurns("tasks", "list", "acme", "--state", "blocked", "--json")) == []


def test_tasks_are_submitted_counted_purged(command: Run, turns: TakeTurns, eventually: Eventually) -> None:
    """Ten tasks at once; those that wait are thrown away, and the settings stay."""
    ids = command("submit", "acme", "shop.nap", "--args", "[0]", "--count", "10").stdout.split()
    assert len(set(ids)) == 10
    assert turns.tasks.get("acme", ids[0]) is not None, "as over HTTP, its tenant may ask for it"
    one = parsed(command("submit", "acme", "shop.thumbnail", "--kwargs", '{"image_id": "i-1"}', "--json"))
    assert [(each["tenant"], each["queue"]) for each in one] == [("acme", "usersequence_acme")]
    later = ("--countdown", "3600", "--priority", "high")
    assert command("submit", "acme", "shop.nap", "--args", "[0]", *later).returncode == 0
    turns.update("acme", rate_limit="10/1s:5")
    wait_for(turns, eventually, "acme", 11)
    stats = parsed(command("stats", "acme", "--json"))
    counts = ("waiting", "running", "completed", "failed")
    assert [stats[name] for name in counts] == [11, 0, 0, 0]
    scopes = {each["scope"]: each["tokens"] for each in stats["limits"]}
    assert scopes == {"tenant": 5.0, "shop.thumbnail": 5.0}
    text = command("stats", "acme").stdout
    assert re.search(r"^ waiting +11 *$", text, re.MULTILINE), text
    assert re.search(r"^ all tasks +10/1s:5 +5\.0 of 5 +0\.0 s *$", text, re.MULTILINE), text
    assert_one_line(
        command("purge", "acme"), "what is purged is gone, and nobody can be asked .*: pass --yes"
    )
    purged = parsed(command("purge", "acme", "--yes", "--json"))
    assert purged.pop("due_until") is not None
    assert purged == {"tenant": "acme", "purged": 11, "running": 0, "silent": []}
    said = command("purge", "acme", "--yes").stdout
    assert re.fullmatch(r"acme: 0 waiting tasks purged\. Delayed ones may come until .* UTC\.\n", said)
    assert turns.registry.get("acme").rate_limit == "10/1s:5"


def test_a_tenant_with_tasks_is_removed_by_force(
    command: Run, turns: TakeTurns, eventually: Eventually
) -> None:
    """Else it stays with all that it has; one without is removed by the word alone."""
    assert command("submit", "acme", "shop.nap", "--args", "[0]", "--count", "2").returncode == 0
    turns.update("acme", weight=3)
    wait_for(turns, eventually, "acme", 2)
    assert_one_line(command("remove", "acme"), "nothing of tenant 'acme' was removed, .*: 2 messages.*")
    assert turns.registry.get("acme").weight == 3
    assert command("remove", "acme", "--force").stdout == "acme is removed, with 2 waiting tasks.\n"
    command("create", "bolt")
    assert parsed(command("remove", "bolt", "--json")) == {
        "tenant": "bolt",
        "removed": True,
        "thrown_away": 0,
    }
    assert turns.list() == []


def test_a_trial_waits_for_its_tasks(
    command: Run, settings: Settings, tmp_path: Path, eventually: Eventually, turns: TakeTurns
) -> None:
    """And tells what each returned; that one has failed, or has not ended in time, is a failure of the command."""
    with worker(settings, tmp_path, "-P", "threads", "-c", "2", app="support.api_app"):
        found = parsed(
            command(
                "submit",
                "acme",
                "shop.thumbnail",
                "--args",
                '["i-1", 64]',
                "--wait",
                "30",
                "--count",
                "2",
                "--json",
            )
        )
        assert [(each["status"], each["result"]) for each in found] == [("SUCCESS", "i-1@64")] * 2
        wrong = command("submit", "acme", "shop.nap", "--args", '["soon"]', "--wait", "30")
        assert (wrong.returncode, wrong.stderr) == (1, "taketurns: 1 of 1 tasks have not succeeded\n")
        assert "FAILURE  TypeError: " in wrong.stdout
        parsed(command("pause", "acme", "--json"))
        slow = command("submit", "acme", "shop.nap", "--args", "[0]", "--wait", "0.1", "--json")
        assert (slow.returncode, json.loads(slow.stdout)[0]["status"]) == (1, "QUEUED")
        silent = command("submit", "bolt", "shop.silent", "--wait", "30")
        assert silent.returncode == 0, "its state is recorded, although the app keeps no result of it"
        assert "SUCCESS" in silent.stdout
        eventually(lambda: turns.stats("acme").completed == 2)
        stats = parsed(command("stats", "acme", "--json"))
        assert (stats["failed"], stats["waiting"]) == (1, 1)
        assert parsed(command("resume", "acme", "--json"))["paused"] is False
        eventually(lambda: turns.stats("acme").completed == 3)


EVERY: dict[str, tuple[str, ...]] = {
    "create": ("acme",),
    "list": (),
    "show": ("acme",),
    "set": ("acme", "--rate", "1/1s"),
    "pause": ("acme",),
    "resume": ("acme",),
    "stats": ("acme",),
    "explain": ("acme",),
    "purge": ("acme", "--yes"),
    "remove": ("acme",),
    "submit": ("acme", "shop.nap", "--args", "[0]"),
}


@pytest.mark.parametrize("name", sorted(EVERY))
def test_help_has_an_example(name: str, command: Run) -> None:
    """--help shows how the command is used."""
    assert f"Example: taketurns -A shop tenants {name}" in " ".join(command(name, "--help").stdout.split())


@pytest.mark.parametrize("name", sorted(EVERY.keys() - {"list"}))
def test_a_tenant_of_another_form_is_told_in_one_line(name: str, command: Run) -> None:
    """Before anything is asked or changed."""
    result = command(name, "a b", *EVERY[name][1:])
    assert_one_line(result, r"tenant: 'a b' is not valid; accepted is 1 to 128 characters .*")


@pytest.mark.parametrize("name", ["show", "stats", "explain", "purge", "remove", "pause", "resume"])
def test_an_unknown_tenant_is_told_in_one_line(name: str, command: Run) -> None:
    """By whatever must be there; the others need not know it before."""
    result = command(name, "nobody", *EVERY[name][1:])
    assert_one_line(result, "there is no tenant 'nobody': it has neither a queue nor settings.*")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("create", "acme", "--rate", "0/1s"),
            r"rate_limit: '0/1s' is not valid; accepted is count/period.*",
        ),
        (("set", "acme", "--weight", "0"), r"weight: 0\.0 is not valid; .*"),
        (("submit", "acme", "shop.absent"), r"task: 'shop.absent' is not valid; .*shop\.thumbnail.*"),
        (("submit", "acme", "shop.ordinary"), r"task: 'shop.ordinary' is not valid; .*"),
        (("submit", "acme", "shop.nap"), r"args: .*seconds.*"),
        (("submit", "acme", *EVERY["submit"][1:], "--countdown", "1e9"), r"countdown.*"),
    ],
)
def test_what_is_of_another_form_is_told_in_one_line(
    words: tuple[str, ...], says: str, command: Run, turns: TakeTurns
) -> None:
    """And nothing is created or submitted by it."""
    assert_one_line(command(*words), says)
    assert turns.list() == []


@pytest.mark.parametrize(
    ("away", "says", "names"),
    [
        (
            BROKER_AWAY,
            r"RabbitMQ could not be reached at amqp://guest:.*; see that it runs .*",
            "create submit",
        ),
        (
            REDIS_AWAY,
            "Redis failed .*; see that it runs .*",
            "create list show set pause resume stats remove",
        ),
        (
            MANAGEMENT_AWAY,
            f"RabbitMQ's management API at http://{NOWHERE} can't be reached .*",
            "list show stats explain remove",
        ),
    ],
)
def test_a_server_that_is_away_is_told_in_one_line(
    away: dict[str, Any], says: str, names: str, command: Run, turns: TakeTurns
) -> None:
    """By every command that needs it."""
    turns.update("known", weight=2)
    for name in names.split():
        words = EVERY[name]
        assert_one_line(command(name, *(("known", *words[1:]) if name == "stats" else words), **away), says)
    assert {each.tenant for each in turns.list()} == {"known"}
