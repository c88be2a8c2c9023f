"""Dead letters on the command line, run as people run it, on real servers."""

from __future__ import annotations

import json
import re
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest

from support.api_server import serving
from support.command import SHOP, WITHIN, assert_one_line, parsed, run, run_without, started
from support.letters import bury, bury_another
from support.terminal import on_terminal
from support.workers import environment

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Run = Callable[..., subprocess.CompletedProcess[str]]
    Eventually = Callable[..., None]


@pytest.fixture
def command(taketurns: Run) -> Run:
    """Return a function that runs ``taketurns -A APP dead ARGUMENTS``."""
    return partial(taketurns, "dead")


@pytest.fixture
def four(turns: TakeTurns) -> None:
    """Four dead letters, one of them of no tenant."""
    bury(turns, "d-1", reason="no " + "x" * 400)
    bury(turns, "d-2", "bolt", cause="rejected")
    bury(turns, "d-3", cause="crash_loop", attempts=5)
    bury(turns, "d-4", None, cause="unroutable")


def left(turns: TakeTurns) -> list[str]:
    return [each.id for each in turns.dead_letters.list()]


def ready(turns: TakeTurns, tenant: str) -> int:
    queue = turns.management.queue(f"usersequence_{tenant}")
    return queue.ready or 0 if queue else 0


# ---- list, show


@pytest.mark.usefixtures("four")
def test_letters_are_listed_and_filtered(command: Run, turns: TakeTurns) -> None:
    """A line each for people, with as much of the reason as has room; the JSON is that of HTTP."""
    result = command("list")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) == 5
    assert re.match(r"^ d-1 +acme +shop.anything +failed +no x+… +0 +0 +2026-01-01 00:00:00 *$", lines[1])
    assert re.match(r"^ d-3 +acme +shop.anything +crash_loop +ValueError\('no'\) +5 +0 +2026", lines[3])
    assert re.match(r"^ d-4 +shop.anything +unroutable ", lines[4])
    with serving(turns) as api, api.as_("root", operator=True) as operator:
        listed = operator.get("/dead-letters").json()
    letters = listed["letters"]
    assert parsed(command("list", "--json")) == listed

    def found(*options: str) -> list[dict[str, object]]:
        answer = parsed(command("list", "--json", *options))
        assert answer["total"] == 4
        return list(answer["letters"])

    assert found("--tenant", "acme", "--cause", "crash_loop") == [letters[2]]
    assert found("--task", "shop.other") == []
    assert found("--task-id", "task-d-2") == [letters[1]]
    assert found("--since", "2026-01-01", "--until", "2026-01-01T00:00:01Z") == letters
    assert found("--since", "2026-01-01T00:00:01") == []
    assert found("--until", "1s", "--limit", "2") == letters[:2]
    first = command("list", "--limit", "1")
    assert (len(first.stdout.splitlines()), first.stderr) == (2, "Listed are 1 of 4 dead letters.\n")


def test_what_the_output_has_no_letters_for_is_escaped(
    turns: TakeTurns, settings: Settings, tmp_path: Path
) -> None:
    """Where it is not UTF-8."""
    bury(turns, "d-1", reason="ValueError('ä')")
    (tmp_path / "shop.py").write_text(SHOP)
    variables = environment(settings, PYTHONIOENCODING="ascii")
    result = run("-A", "shop", "dead", "list", cwd=tmp_path, **variables)
    assert (result.returncode, result.stderr) == (0, "")
    assert r"ValueError('\xe4')" in result.stdout


def test_no_letters_is_said(command: Run) -> None:
    """On stderr, so that a pipe stays empty."""
    result = command("list")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "There are no dead letters.\n")
    assert_one_line(command("show", "d-1"), "there is no dead letter 'd-1'")


def test_a_letter_is_shown(command: Run, turns: TakeTurns) -> None:
    """With its arguments and its traceback line by line; nothing in it is obeyed by the terminal."""
    bury(turns, "d-1", traceback="Traceback\n  in work\nValueError: \x1b[31mno", reason="\x1b]0;owned\x07")
    result = command("show", "d-1")
    assert (result.returncode, result.stderr) == (0, "")
    assert re.search(r"^ tenant +acme *$", result.stdout, re.MULTILINE)
    assert '\narguments:\n["i-1"]\n' in result.stdout
    assert result.stdout.endswith("\ntraceback:\nTraceback\n  in work\nValueError: \\x1b[31mno\n")
    assert "\\x1b]0;owned" in result.stdout
    assert "\x1b" not in result.stdout + command("list").stdout
    with serving(turns) as api, api.as_("root", operator=True) as operator:
        assert parsed(command("show", "d-1", "--json")) == operator.get("/dead-letters/d-1").json()


# ---- replay, discard


@pytest.mark.usefixtures("four")
def test_letters_are_replayed(command: Run, turns: TakeTurns, eventually: Eventually) -> None:
    """By id and by filter; what can't be replayed is told, and is a failure if it was named."""
    result = command("replay", "d-1", "nobody", "nothing")
    assert (result.returncode, result.stdout) == (1, "1 dead letter replayed.\n")
    assert result.stderr == "taketurns: there is no such dead letter: nobody, nothing\n"
    result = command("replay", "d-4")
    assert (result.returncode, result.stdout) == (1, "0 dead letters replayed.\n")
    assert result.stderr == "taketurns: 1 dead letter of no known tenant can only be discarded\n"
    assert command("replay", "--cause", "rejected").stdout == "1 dead letter replayed.\n"
    result = command("replay", "--all")
    assert (result.returncode, result.stdout) == (0, "1 dead letter replayed.\n")
    assert result.stderr == "1 dead letter of no known tenant can only be discarded.\n"
    assert left(turns) == ["d-4"]
    assert parsed(command("replay", "--all", "--json")) == {
        "replayed": 0,
        "without_tenant": 1,
        "missing": [],
    }
    named = command("replay", "d-1", "--json")
    assert (named.returncode, json.loads(named.stdout)["missing"]) == (1, ["d-1"])
    assert named.stderr == "taketurns: there is no such dead letter: d-1\n"
    eventually(lambda: (ready(turns, "acme"), ready(turns, "bolt")) == (2, 1))


@pytest.mark.usefixtures("four")
def test_letters_are_discarded(command: Run, turns: TakeTurns) -> None:
    """Without a terminal only by --yes."""
    refused = command("discard", "--all")
    assert_one_line(refused, "what is discarded is gone, and nobody can be asked here: pass --yes")
    result = command("discard", "--tenant", "acme", "--limit", "1", "--yes")
    assert (result.returncode, result.stdout, result.stderr) == (0, "1 dead letter discarded.\n", "")
    assert left(turns) == ["d-2", "d-3", "d-4"]
    result = command("discard", "d-2", "d-1", "-y")
    assert (result.returncode, result.stdout) == (1, "1 dead letter discarded.\n")
    assert result.stderr == "taketurns: there is no such dead letter: d-1\n"
    assert command("discard", "--since", "2h", "--yes").stdout == "0 dead letters discarded.\n"
    assert parsed(command("discard", "--task-id", "task-d-3", "--yes", "--json")) == {
        "discarded": 1,
        "missing": [],
    }
    assert command("discard", "--all", "--yes").stdout == "1 dead letter discarded.\n"
    assert left(turns) == []


@pytest.mark.usefixtures("four")
def test_who_names_no_letters_is_told_how_to(command: Run, turns: TakeTurns) -> None:
    """Neither a forgotten filter nor a contradiction touches anything."""
    for words in (["replay"], ["discard", "--yes"], ["replay", "--limit", "3"], ["replay", "d-1", "--all"]):
        result = command(*words)
        assert (result.returncode, result.stdout) == (2, "")
        said = " ".join(result.stderr.replace("│", " ").split())  # however wide the box is
        assert "name the letters by their ids or by a filter such as --tenant, or say --all" in said
    assert_one_line(command("replay", "--cause", "bad"), r"cause: 'bad' is not valid; accepted is one of .*")
    assert_one_line(command("list", "--tenant", "a b"), r"tenant: 'a b' is not valid; .*")
    assert_one_line(command("list", "--since", "soon"), r"--since: 'soon' is not valid; accepted is .*")
    assert len(left(turns)) == 4


def test_a_broker_that_is_away_is_told_in_one_line(command: Run) -> None:
    """Whatever was to be done."""
    for words in (["list"], ["show", "d-1"], ["replay", "--all"], ["discard", "--all", "--yes"]):
        result = command(*words, TAKETURNS_AMQP_URL="amqp://guest:guest@127.0.0.1:1//")
        assert_one_line(result, r"RabbitMQ could not be reached at amqp://guest:.*@127\.0\.0\.1:1//: .*")


@pytest.mark.parametrize(("answer", "code", "stay"), [("y", 0, 0), ("n", 1, 4)])
@pytest.mark.usefixtures("four")
def test_on_a_terminal_it_is_asked_before_letters_are_discarded(
    answer: str, code: int, stay: int, turns: TakeTurns, settings: Settings, tmp_path: Path
) -> None:
    """With how many it would be."""
    (tmp_path / "shop.py").write_text(SHOP)
    with on_terminal(
        *("-A", "shop", "dead", "discard", "--all"), cwd=tmp_path, variables=environment(settings)
    ) as terminal:
        terminal.read_until("Discard 4 dead letters? [y/N]: ")
        terminal.type(f"{answer}\n")
        said = terminal.read_to_the_end()
        assert terminal.process.wait(WITHIN) == code, said
    assert ("4 dead letters discarded." in said) == (code == 0), said
    assert ("4/4" in said) == (code == 0), "the bar"
    assert len(left(turns)) == stay


def test_ctrl_c_stops_between_two_letters_and_says_how_many_were_done(
    turns: TakeTurns, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """As many tasks wait as it says, and all the other letters are still there."""
    count = 3000
    bury(turns, "d-0")
    for number in range(1, count):
        bury_another(turns, f"d-{number}")
    (tmp_path / "shop.py").write_text(SHOP)
    with started("-A", "shop", "dead", "replay", "--all", cwd=tmp_path, env=environment(settings)) as process:
        eventually(lambda: ready(turns, "acme") > 0, within=WITHIN)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=WITHIN)
    assert (process.returncode, output) == (130, ""), errors
    said = re.fullmatch(r"Interrupted: (\d+) dead letters? replayed, the rest is still there\.\n", errors)
    assert said, errors
    done = int(said[1])
    assert 0 < done < count
    assert left(turns) == [f"d-{number}" for number in range(done, count)]
    eventually(lambda: ready(turns, "acme") == done)


# ---- help


@pytest.mark.parametrize("name", ["list", "show", "replay", "discard"])
def test_help_has_an_example(name: str, tmp_path: Path) -> None:
    """--help shows how the command is used."""
    text = " ".join(run("dead", name, "--help", cwd=tmp_path).stdout.split())
    assert f"Example: taketurns -A shop dead {name}" in text


@pytest.mark.usefixtures("four")
def test_dead_letters_do_not_need_the_packages_of_the_api(settings: Settings, tmp_path: Path) -> None:
    """They can be seen and replayed where FastAPI is not installed."""
    (tmp_path / "shop.py").write_text(SHOP)
    for words in (["list"], ["show", "d-1"], ["list", "--json"], ["replay", "d-1"]):
        result = run_without("fastapi", "-A", "shop", "dead", *words, cwd=tmp_path, **environment(settings))
        assert result.returncode == 0, result.stderr
        assert result.stdout
