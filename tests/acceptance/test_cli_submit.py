"""``taketurns tasks submit``, or ``tenants submit``: one task with all its options, or the tasks of a file."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from support.command import COMMAND, assert_one_line, parsed, run_without, started
from support.workers import environment
from taketurns.errors import BrokerUnavailable
from taketurns.publisher import Publisher
from taketurns.tenant_tasks import Chosen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Run = Callable[..., subprocess.CompletedProcess[str]]
    Eventually = Callable[..., None]

WITHIN = 60.0
APP = ("-A", "support.api_app:app")
GOOD = '{"name": "shop.thumbnail", "args": ["i-1"]}'


@pytest.fixture
def submit(taketurns: Run) -> Run:
    """Return a function that runs ``taketurns -A APP tasks submit acme ARGUMENTS``."""
    return partial(taketurns, "tasks", "submit", "acme")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes lines to a file, and returns its name."""

    def write(*lines: str) -> str:
        path = tmp_path / "tasks.ndjson"
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    return write


def known(turns: TakeTurns) -> list[str]:
    """Return the ids of the tasks that were submitted, in their order."""
    return [record.id for record, _ in turns.tasks.each("acme", Chosen())][::-1]


def answers(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# ---- one task


def test_all_that_may_be_said_over_http_may_be_said_here(submit: Run, turns: TakeTurns) -> None:
    parent = submit("shop.anything").stdout.strip()
    eta = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    options: tuple[str, ...] = ("--priority", "high", "--eta", eta.isoformat(), "--expires", "7200")
    options += ("--max-retries", "5", "--time-limit", "30", "--tag", "import", "--tag", "batch=7")
    (one,) = parsed(submit("shop.thumbnail", "--args", '["i-1"]', *options, "--json"))
    assert one.items() >= {"tenant": "acme", "status": "DELAYED", "duplicate": False}.items()
    record = turns.tasks.get("acme", one["task_id"])
    assert record is not None
    assert (record.priority, record.tags, record.due) == ("high", ("import", "batch=7"), eta.timestamp())
    (blocked,) = parsed(submit("shop.anything", "--depends-on", parent, "--expires", "2040-01-01", "--json"))
    assert blocked["status"] == "BLOCKED"
    message = waiting_message(turns, submit, *options[:2], *options[4:])
    assert message.headers["timelimit"][0] == 30
    assert message.headers["taketurns_retry"]["max_retries"] == 5
    expires = datetime.fromisoformat(message.headers["expires"])
    assert timedelta(minutes=100) < expires - datetime.now(UTC) < timedelta(minutes=121)


def waiting_message(turns: TakeTurns, submit: Run, *options: str) -> Any:
    """Submit a task with these options, and return its message."""
    assert submit("shop.thumbnail", "--args", '["i-1"]', *options).returncode == 0
    with turns.app.connection_for_write() as connection, connection.channel() as channel:
        messages = [channel.basic_get("usersequence_acme", no_ack=True) for _ in range(1)]
        return messages[0]


def test_a_key_makes_a_repetition_the_first_submission(submit: Run, turns: TakeTurns) -> None:
    words = ("shop.thumbnail", "--args", '["i-1"]', "--idempotency-key", "order-4711")
    first = submit(*words).stdout
    again = submit(*words)
    assert (again.returncode, again.stdout) == (0, first)
    assert again.stderr == "It was submitted before, with the same key.\n"
    (told,) = parsed(submit(*words, "--json"))
    assert (f"{told['task_id']}\n", told["duplicate"]) == (first, True)
    assert known(turns) == [told["task_id"]]
    other = submit("shop.thumbnail", "--args", '["i-2"]', "--idempotency-key", "order-4711")
    assert_one_line(other, "idempotency_key: 'order-4711' is not valid; accepted is a key of its own .*")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("--countdown", "1", "--eta", "2040-01-01"),
            r"eta: '2040-01-01' is not valid; .* either countdown or eta",
        ),
        (("--eta", "soon"), r"eta: 'soon' is not valid; .*"),
        (("--expires", "-1"), r"expires: -1\.0 is not valid; .*"),
        (("--expires", "soon"), r"expires: 'soon' is not valid; .*"),
        (("--time-limit", "0"), r"time_limit: .*greater than 0"),
        (("--tag", ""), r"tags: .*"),
        (("--idempotency-key", ""), r"idempotency_key: .*"),
        (("--depends-on", "nosuch"), r"depends_on: 'nosuch' is not valid; .*"),
    ],
)
def test_an_option_of_another_form_is_told_in_one_line(
    words: tuple[str, ...], says: str, submit: Run, turns: TakeTurns
) -> None:
    assert_one_line(submit("shop.thumbnail", "--args", '["i-1"]', *words), says)
    assert known(turns) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name a TASK, or a --file of tasks"),
        (("shop.thumbnail", "--file", "FILE"), "name a TASK, or a --file of tasks"),
        (
            ("--file", "FILE", "--priority", "high"),
            "what is said of a single task is in the lines of the file",
        ),
        (("--file", "FILE", "--count", "2"), "what is said of a single task is in the lines of the file"),
        (("--file", "FILE", "--wait", "2"), "what is said of a single task is in the lines of the file"),
        (("--file", "nosuch.ndjson"), "No such file or directory"),
        (("shop.thumbnail", "--count", "2", "--idempotency-key", "k"), "there is one task, and no --count"),
        (("shop.thumbnail", "--max-retries", "-1"), "Invalid value for '--max-retries'"),
        (("shop.thumbnail", "--args", "{}"), "accepted is a JSON list"),
        (("shop.thumbnail", "--args", "x"), "Invalid value for --args"),
        (("shop.thumbnail", "--kwargs", "[0"), "accepted is a JSON object"),
        (("shop.thumbnail", "--priority", "urgent"), "Invalid value for '--priority'"),
    ],
)
def test_what_does_not_go_together_is_told_with_the_usage(
    words: tuple[str, ...], says: str, submit: Run, write: Callable[..., str], turns: TakeTurns
) -> None:
    file = write(GOOD)
    result = submit(*(file if word == "FILE" else word for word in words))
    assert (result.returncode, result.stdout) == (2, "")
    assert says in " ".join(result.stderr.replace("│", " ").split())
    assert known(turns) == []


def test_ctrl_c_while_it_waits_names_what_was_submitted(
    settings: Settings, tmp_path: Path, turns: TakeTurns
) -> None:
    """Nothing was printed before, and whoever submits again would run the task twice."""
    (tmp_path / "telling.py").write_text(
        "from support.api_app import app\n"
        "from taketurns.records.records import Records\n"
        "look = Records.of\n"
        "Records.of = lambda *asked: print('it looks', flush=True) or look(*asked)\n"
    )
    with started(
        "-A",
        "telling:app",
        "tasks",
        "submit",
        "acme",
        "shop.internal",
        "--wait",
        "600",
        cwd=tmp_path,
        env=environment(settings),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "it looks\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        errors = process.stderr.read()
        process.wait(WITHIN)
    said = f"Interrupted; submitted, and not cancelled: {' '.join(known(turns))}\n"
    assert (process.returncode, errors, len(known(turns))) == (130, said, 1)


# ---- a file


def test_the_tasks_of_a_file_are_submitted(submit: Run, write: Callable[..., str], turns: TakeTurns) -> None:
    """Exposed or not, more than fit into one portion; their ids are printed in the order of the lines."""
    lines = [json.dumps({"name": "shop.internal", "tags": [str(number)]}) for number in range(1_500)]
    result = submit("--file", write(GOOD, "", *lines))
    assert (result.returncode, result.stderr) == (0, "")
    ids = result.stdout.split()
    assert len(ids) == len(set(ids)) == 1_501
    last = turns.tasks.get("acme", ids[-1])
    assert last is not None
    assert (last.name, last.tags) == ("shop.internal", ("1499",))
    assert turns.publisher.waiting("usersequence_acme") == 1_501


def test_programs_get_an_answer_for_each_line(
    submit: Run, write: Callable[..., str], turns: TakeTurns
) -> None:
    """With its number; a key that comes again is the same task, from the file or from before."""
    keyed = '{"name": "shop.thumbnail", "args": ["i-1"], "idempotency_key": "k"}'
    file = write(GOOD, "", keyed, keyed)
    result = submit("--file", file, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    first, second, third = answers(result)
    assert [each["line"] for each in (first, second, third)] == [1, 3, 4]
    assert [each["duplicate"] for each in (first, second, third)] == [False, False, True]
    assert {each["error"] for each in (first, second, third)} == {None}
    assert second["task_id"] == third["task_id"] != first["task_id"]
    again = answers(submit("--file", file, "--json"))
    assert [each["duplicate"] for each in again] == [False, True, True]
    assert len(known(turns)) == 3


def test_the_standard_input_is_a_file_too(settings: Settings, tmp_path: Path, turns: TakeTurns) -> None:
    result = subprocess.run(  # our own command
        [COMMAND, *APP, "tasks", "submit", "acme", "--file", "-"],
        cwd=tmp_path,
        env=environment(settings),
        input=f"{GOOD}\n{GOOD}",
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == known(turns)
    assert len(known(turns)) == 2


def test_a_file_may_be_a_json_array(submit: Run, write: Callable[..., str], turns: TakeTurns) -> None:
    """Whose items are counted from 1."""
    result = submit("--file", write("", " [", GOOD, ",", GOOD, "]"), "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert [(each["item"], each["error"]) for each in answers(result)] == [(1, None), (2, None)]
    assert [each["task_id"] for each in answers(result)] == known(turns)
    file = write("[", GOOD, ", 17]")
    told, last = submit("--file", file).stderr.splitlines()
    assert told.startswith("item 2: 17 is not valid; ")
    assert last == f"taketurns: {file}: 1 of 2 items can't be submitted, so nothing was"
    assert_one_line(
        submit("--file", write("[", GOOD)), r".* begins as a JSON array, and it is no JSON \(.*\)"
    )
    assert len(known(turns)) == 2


WRONG = (
    GOOD,
    "{nonsense",
    "",
    '{"name": "shop.absent"}',
    '{"name": "shop.thumbnail"}',
    '{"name": "shop.thumbnail", "args": ["i-1"], "priority": "urgent"}',
    '{"name": "shop.thumbnail", "args": ["i-1"], "nonsense": 1}',
    "17",
)
SAYS = (
    r"line 2: it is no JSON \(.*\)",
    r"line 4: name: 'shop\.absent' is not valid; accepted is a TenantTask of this app: .*",
    r"line 5: args: .* is not valid; accepted is what the task takes, .*",
    r"line 6: priority: 'urgent' is not valid; accepted is 'low', 'normal' or 'high'",
    r"line 7: nonsense: there is no such field here",
    r"line 8: 17 is not valid; accepted is an object|line 8: .*",
)


def test_one_wrong_line_keeps_the_file_from_being_submitted(
    submit: Run, write: Callable[..., str], turns: TakeTurns
) -> None:
    """Each is told with its number, for people on standard error, for programs as JSON."""
    file = write(*WRONG)
    result = submit("--file", file)
    assert (result.returncode, result.stdout) == (1, "")
    *told, last = result.stderr.splitlines()
    for line, expected in zip(told, SAYS, strict=True):
        assert re.fullmatch(expected, line), line
    assert last == f"taketurns: {file}: 6 of 7 lines can't be submitted, so nothing was"
    result = submit("--file", file, "--json")
    assert (result.returncode, result.stderr) == (1, f"{last}\n")
    assert [(each["line"], each["field"]) for each in answers(result)] == [
        (2, "body"),
        (4, "name"),
        (5, "args"),
        (6, "priority"),
        (7, "nonsense"),
        (8, "body"),
    ]
    assert known(turns) == []


def test_what_is_wrong_far_below_is_known_before_the_first_is_submitted(
    submit: Run, write: Callable[..., str], turns: TakeTurns
) -> None:
    """Beyond the first portion: wrong lines, of which some are told, and a key of two different tasks."""
    file = write(*[GOOD] * 1_100, *["{}"] * 150)
    result = submit("--file", file)
    assert result.returncode == 1
    *told, more, last = result.stderr.splitlines()
    assert (len(told), more) == (100, "and 50 more")
    assert last.endswith(": 150 of 1250 lines can't be submitted, so nothing was")
    keyed = [json.dumps({"name": "shop.thumbnail", "args": [each], "idempotency_key": "k"}) for each in "ab"]
    result = submit("--file", write(keyed[0], *[GOOD] * 1_100, keyed[1]))
    assert result.stderr.startswith(
        "line 1102: idempotency_key: 'k' is not valid; accepted is a key of its own"
    )
    assert (result.returncode, result.stdout, known(turns)) == (1, "", [])


def test_a_file_without_tasks_is_a_failure(submit: Run, write: Callable[..., str]) -> None:
    assert_one_line(submit("--file", write("", " ")), ".* has no tasks; it should have one a line, .*")


def test_a_task_that_depends_on_nothing_known_is_told_by_its_line(
    submit: Run, write: Callable[..., str], turns: TakeTurns
) -> None:
    parent = '{"name": "shop.thumbnail", "args": ["i-1"], "depends_on": ["nosuch"]}'
    result = submit("--file", write(GOOD, parent, GOOD))
    assert (result.returncode, result.stdout, known(turns)) == (1, "", [])
    told, last = result.stderr.splitlines()
    assert re.fullmatch(r"line 2: depends_on: 'nosuch' is not valid; .*", told), told
    assert last == "taketurns: nothing from line 1 on was submitted: 1 of the lines to 3 can't be"


def test_a_key_that_was_used_before_stops_the_file(
    submit: Run, write: Callable[..., str], turns: TakeTurns
) -> None:
    submit("shop.thumbnail", "--args", '["i-0"]', "--idempotency-key", "k")
    keyed = '{"name": "shop.thumbnail", "args": ["i-1"], "idempotency_key": "k"}'
    result = submit("--file", write(GOOD, keyed))
    told, last = result.stderr.splitlines()
    assert (result.returncode, result.stdout) == (1, "")
    assert told.startswith("line 2: idempotency_key: 'k' is not valid; ")
    assert last == "taketurns: nothing from line 1 on was submitted: 1 of the lines to 2 can't be"
    assert len(known(turns)) == 1


def test_when_the_backlog_is_full_it_is_said_how_far_it_came(
    submit: Run, write: Callable[..., str], turns: TakeTurns
) -> None:
    turns.update("acme", max_backlog=1_500)
    result = submit("--file", write(*[GOOD] * 2_500))
    assert (result.returncode, len(result.stdout.split())) == (1, 1_000)
    assert re.fullmatch(
        r"taketurns: nothing from line 1001 on was submitted: .*max_backlog is 1500.* "
        r"\(before that: 1000 tasks submitted\)\n",
        result.stderr,
    ), result.stderr


def test_a_broker_that_goes_away_is_told(
    submit: Run, write: Callable[..., str], turns: TakeTurns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is submitted twice by who goes on with the line that is named."""
    ensure, calls = Publisher.ensure, iter(range(10))

    def fail(self: Publisher, tenant: str) -> str:
        if next(calls):
            raise BrokerUnavailable("RabbitMQ is away")
        return ensure(self, tenant)

    monkeypatch.setattr(Publisher, "ensure", fail)
    result = submit("--file", write(*[GOOD] * 1_010))
    assert (result.returncode, len(result.stdout.split())) == (1, 1_000)
    assert result.stderr == (
        "taketurns: nothing from line 1001 on was submitted: RabbitMQ is away (before that: 1000 tasks submitted)\n"
    )
    assert len(known(turns)) == 1_000


def test_ctrl_c_says_what_was_submitted(
    settings: Settings, tmp_path: Path, write: Callable[..., str], turns: TakeTurns, eventually: Eventually
) -> None:
    """It stops between two portions, and what it says, what it printed and what waits is the same."""
    count = 40_000
    with started(
        *APP,
        "tasks",
        "submit",
        "acme",
        "--file",
        write(*[GOOD] * count),
        cwd=tmp_path,
        env=environment(settings),
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        output, errors = process.stdout.read(), process.stderr.read()
        process.wait(WITHIN)
    said = re.fullmatch(r"Interrupted: (\d+) tasks submitted, nothing after line (\d+)\.\n", errors)
    assert said, errors
    done = int(said[1])
    assert (process.returncode, int(said[2])) == (130, done)
    assert len((first + output).split()) == done
    assert 0 < done < count
    eventually(lambda: turns.publisher.waiting("usersequence_acme") == done)


def test_a_file_does_not_need_the_packages_of_the_api(
    settings: Settings, tmp_path: Path, write: Callable[..., str], turns: TakeTurns
) -> None:
    file = write(GOOD)
    result = run_without(
        "fastapi", *APP, "tasks", "submit", "acme", "--file", file, cwd=tmp_path, **environment(settings)
    )
    assert result.stdout.split() == known(turns), result.stderr


def test_help_has_an_example_and_both_names_are_one_command(taketurns: Run) -> None:
    assert "Example: taketurns -A shop tasks submit" in " ".join(
        taketurns("tasks", "submit", "--help").stdout.split()
    )
    options = [
        sorted(set(re.findall(r"--[a-z-]+", taketurns(group, "submit", "--help").stdout)))
        for group in ("tasks", "tenants")
    ]
    assert options[0] == options[1]
    assert "--idempotency-key" in options[0]
