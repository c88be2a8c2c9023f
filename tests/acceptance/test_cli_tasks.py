"""``taketurns tasks list``, ``show`` and ``cancel``, run as people run them, on real servers."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from support.api_server import serving
from support.command import assert_one_line, parsed
from support.workers import worker
from taketurns.tenant_tasks import Chosen

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Run = Callable[..., subprocess.CompletedProcess[str]]
    Eventually = Callable[..., None]

REDIS_AWAY = {"TAKETURNS_REDIS_URL": "redis://127.0.0.1:1/0"}
UNKNOWN = "of acme no task of the id 'nosuch' is remembered"


@pytest.fixture
def command(taketurns: Run) -> Run:
    """Return a function that runs ``taketurns -A APP tasks ARGUMENTS``."""
    return partial(taketurns, "tasks")


def submit(
    turns: TakeTurns, *args: Any, task: str = "shop.anything", tenant: str = "acme", **more: Any
) -> str:
    return str(turns.app.tasks[task].apply_async(args, tenant=tenant, **more).id)


def ids(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [each["task_id"] for each in parsed(result)]


def states(turns: TakeTurns, tenant: str = "acme") -> dict[str, str]:
    return {record.id: state for record, state in turns.tasks.each(tenant, Chosen())}


def test_tasks_are_listed_and_filtered(command: Run, turns: TakeTurns) -> None:
    """The latest first, those that have all of what is asked, and the same as over HTTP; none of another tenant's."""
    nap = submit(turns, 0, task="shop.nap", tags=["import", "batch=7"])
    later = submit(turns, countdown=3600, tags=["import"])
    plain = submit(turns, priority="high")
    submit(turns, tenant="bolt", tags=["import"])
    assert ids(command("list", "acme", "--json")) == [plain, later, nap]
    for filters, expected in (
        (("--tag", "import"), [later, nap]),
        (("--tag", "import", "--name", "shop.nap"), [nap]),
        (("--state", "delayed"), [later]),
        (("--state", "QUEUED", "--state", "DELAYED"), [plain, later, nap]),
        (("--since", "1h"), [plain, later, nap]),
        (("--until", "1h"), []),
        (("--limit", "1"), [plain]),
    ):
        assert ids(command("list", "acme", *filters, "--json")) == expected, filters
    table = command("list", "acme").stdout
    columns = r"^ *id +task +state +submitted \(UTC\) +attempts +progress +error *$"
    assert re.search(columns, table, re.MULTILINE), table
    assert re.search(
        rf"^ *{later} +shop\.anything +DELAYED +\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d +0 *$", table, re.MULTILINE
    ), table
    nothing = command("list", "acme", "--tag", "export")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert nothing.stderr == "Of acme no such task is remembered.\n"
    with serving(turns) as api, api.as_("acme") as acme:
        assert parsed(command("list", "acme", "--json")) == acme.get("/tasks").json()["tasks"]


def test_what_has_run_is_shown(
    command: Run, turns: TakeTurns, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """With its steps, its result or error; one that runs is not cancelled, and what has ended stays as it is."""
    good = submit(turns, "i-1", task="shop.thumbnail", tags=["import"], priority="high")
    bad = submit(turns, "soon", task="shop.nap")
    with worker(settings, tmp_path, "-P", "threads", "-c", "2", app="support.api_app"):
        eventually(
            lambda: {good: "SUCCESS", bad: "FAILURE"}.items() <= states(turns).items(), within=30, what="ends"
        )
        long = submit(turns, 3, task="shop.nap")
        eventually(lambda: states(turns)[long] == "RUNNING", within=30)
        running = command("cancel", "acme", long, good)
        assert (running.returncode, running.stdout) == (0, "0 cancelled, 0 terminated, 1 run on.\n")
        eventually(lambda: states(turns)[long] == "SUCCESS", within=30)
    assert states(turns)[good] == "SUCCESS"
    shown = parsed(command("show", "acme", good, "--json"))
    assert (shown["status"], shown["result"], shown["attempts"]) == ("SUCCESS", "i-1@128", 1)
    assert [step["event"] for step in shown["steps"]] == ["queued", "started", "completed"]
    text = command("show", "acme", good).stdout
    for line in (
        rf"task +{good}",
        r"name +shop\.thumbnail",
        r"tenant +acme",
        r"queue +usersequence_acme",
        r"state +SUCCESS",
        r"priority +high",
        r"tags +import",
        r"attempts +1",
        r'result +"i-1@128"',
        r"completed +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}.*",
    ):
        assert re.search(rf"^ {line} *$", text, re.MULTILINE), text
    failed = parsed(command("show", "acme", bad, "--json"))
    assert (failed["status"], failed["error"]["type"]) == ("FAILURE", "TypeError")
    assert re.search(
        rf"^ *{bad} +shop\.nap +FAILURE .* TypeError: ", command("list", "acme").stdout, re.MULTILINE
    )


def test_tasks_are_cancelled_by_their_ids(command: Run, turns: TakeTurns) -> None:
    """Once or again; what is not named, or another tenant's, goes on waiting."""
    first, second, third = (submit(turns) for _ in range(3))
    others = submit(turns, tenant="bolt")
    expected = {"cancelled": 2, "running": 0, "terminated": 0, "silent": []}
    assert parsed(command("cancel", "acme", first, second, "--json")) == expected
    again = command("cancel", "acme", first)
    assert (again.returncode, again.stdout) == (0, "0 cancelled, 0 terminated, 0 run on.\n")
    assert_one_line_after(
        command("cancel", "acme", others), "0 cancelled", f"of acme no task of the id '{others}'"
    )
    assert states(turns) == {first: "CANCELLED", second: "CANCELLED", third: "QUEUED"}
    assert states(turns, "bolt") == {others: "QUEUED"}


def test_tasks_are_cancelled_by_a_filter(command: Run, turns: TakeTurns) -> None:
    """All that have all of it and have not ended; with --all every one."""
    imports = [submit(turns, tags=["import"]) for _ in range(3)]
    later = submit(turns, tags=["import"], countdown=3600)
    nap = submit(turns, 0, task="shop.nap", tags=["import"])
    other = submit(turns, tags=["export"])
    parsed(command("cancel", "acme", imports[0], "--json"))
    said = command("cancel", "acme", "--tag", "import", "--name", "shop.anything", "--yes")
    assert (said.returncode, said.stdout) == (0, "3 cancelled, 0 terminated, 0 run on.\n")
    cancelled = dict.fromkeys([*imports, later], "CANCELLED")
    assert states(turns) == {**cancelled, nap: "QUEUED", other: "QUEUED"}
    none = command("cancel", "acme", "--tag", "nosuch", "--yes")
    assert (none.returncode, none.stdout) == (0, "0 cancelled, 0 terminated, 0 run on.\n")
    assert parsed(command("cancel", "acme", "--all", "--yes", "--json"))["cancelled"] == 2
    assert set(states(turns).values()) == {"CANCELLED"}


def test_an_unknown_task_is_told_in_one_line(command: Run, turns: TakeTurns) -> None:
    """And what was named with it is cancelled all the same."""
    known = submit(turns)
    for json_too in ([], ["--json"]):
        assert_one_line(command("show", "acme", "nosuch", *json_too), UNKNOWN)
    assert_one_line(command("show", "bolt", known), f"of bolt no task of the id '{known}' is remembered")
    assert_one_line_after(command("cancel", "acme", "nosuch"), "0 cancelled", UNKNOWN)
    several = command("cancel", "acme", "nosuch", known, "nor-this", "--json")
    assert (several.returncode, json.loads(several.stdout)["cancelled"]) == (1, 1)
    assert several.stderr == f"taketurns: {UNKNOWN}, nor of 1 more of these\n"
    assert states(turns) == {known: "CANCELLED"}


def assert_one_line_after(result: subprocess.CompletedProcess[str], said: str, expected: str) -> None:
    """Check that a command failed with one line, although it did something first."""
    assert result.returncode == 1, result
    assert result.stdout.startswith(said)
    assert re.fullmatch(rf"taketurns: {expected}.*\n", result.stderr), result.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("list", "a b"), r"tenant: 'a b' is not valid; accepted is 1 to 128 characters .*"),
        (("show", "a b", "nosuch"), r"tenant: 'a b' is not valid; .*"),
        (("cancel", "a b", "nosuch"), r"tenant: 'a b' is not valid; .*"),
        (
            ("list", "acme", "--state", "asleep"),
            r"state: 'ASLEEP' is not valid; accepted is one of QUEUED, .*",
        ),
        (
            ("list", "acme", "--since", "soon"),
            r"--since: 'soon' is not valid; accepted is a time in ISO 8601, .*",
        ),
        (("cancel", "acme", "--until", "soon"), r"--until: 'soon' is not valid; .*"),
        (("show", "acme", "\udcff"), r"task_id: '\\udcff' is not valid; accepted is a text of .*"),
        (("watch", "acme", "\udcff"), r"task_id: '\\udcff' is not valid; accepted is a text of .*"),
        (("cancel", "acme", "\udcff"), r"task_id: '\\udcff' is not valid; accepted is a text of .*"),
        (
            ("cancel", "acme", "--all"),
            "what is cancelled never runs, and nobody can be asked here: pass --yes",
        ),
        (("release", "acme", "id"), "what is let go runs, and nobody can be asked here: pass --yes"),
    ],
)
def test_what_can_not_be_meant_is_told_in_one_line(
    words: tuple[str, ...], says: str, command: Run, turns: TakeTurns
) -> None:
    """And nothing is cancelled by it."""
    waiting = submit(turns, tags=["x"])
    assert_one_line(command(*words, "--json"), says)
    assert states(turns) == {waiting: "QUEUED"}


@pytest.mark.parametrize(
    "words",
    [
        ("list", "acme", "--limit", "0"),
        ("list",),
        ("show", "acme"),
        ("cancel",),
        ("cancel", "acme"),
        ("cancel", "acme", "id", "--tag", "x"),
        ("cancel", "acme", "--tag", "x", "--all", "--yes"),
    ],
)
def test_what_is_missing_is_told_with_the_usage(words: tuple[str, ...], command: Run) -> None:
    result = command(*words)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Usage: taketurns tasks" in result.stderr


@pytest.mark.parametrize("words", [("list", "acme"), ("show", "acme", "id"), ("cancel", "acme", "id")])
def test_without_redis_nothing_is_known(words: tuple[str, ...], command: Run) -> None:
    assert_one_line(command(*words, **REDIS_AWAY), "Redis failed .*; see that it runs .*")


@pytest.mark.parametrize("name", ["list", "show", "watch", "cancel", "release"])
def test_help_has_an_example(name: str, command: Run) -> None:
    assert f"Example: taketurns -A shop tasks {name}" in " ".join(command(name, "--help").stdout.split())
