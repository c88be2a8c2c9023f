"""How the chaos scenarios judge what the ledger tells."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import pytest

from chaos.judge import back_after, checks, count
from chaos.ledger import Entry, Ledger
from chaos.memory import slope_of
from chaos.story import Fault, Story

if TYPE_CHECKING:
    from pathlib import Path


def story(*lines: str) -> Story:
    """Return what such lines tell: a time, a kind and words."""
    told = Story()
    told.add(Entry(float(line.split()[0]), line.split()[1], tuple(line.split()[2:])) for line in lines)
    return told


def submitted(label: str, at: float = 0.0) -> list[str]:
    return [f"{at} try {label} acme", f"{at} ok {label}"]


def ran(label: str, run: str, started: float, ended: float | None, worker: str = "w1") -> list[str]:
    began = f"{started} start {label} {run} {worker}"
    return [began] if ended is None else [began, f"{ended} end {label} {run}"]


def test_the_ledger_is_read_from_where_it_was_left(tmp_path: Path) -> None:
    """Each reader sees every record once, whoever wrote it; half a record waits for its other half."""
    path = tmp_path / "ledger"
    reader = Ledger(path)
    assert list(reader.news()) == []
    Ledger(path).write("try", "a", "acme")
    Ledger(path).write("ok", "a")
    assert [(each.kind, each.words) for each in reader.news()] == [("try", ("a", "acme")), ("ok", ("a",))]
    Ledger(path).write("start", "a", "1-1", "w1")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert list(reader.news()) == []
    path.write_bytes(whole)
    assert [each.kind for each in reader.news()] == ["start"]


def test_every_task_is_in_one_column() -> None:
    """Run once, run twice, lost: an accepted task that was only begun is lost, an unanswered one is not."""
    told = story(
        *submitted("once"),
        *submitted("twice"),
        *submitted("begun"),
        *submitted("never"),
        "0 try unanswered acme",
        *ran("once", "1", 1, 2),
        *ran("twice", "2", 1, None),
        *ran("twice", "3", 5, 6),
        *ran("begun", "4", 1, None),
    )
    counts = count(told)
    assert (counts.submitted, counts.accepted) == (5, 4)
    assert (counts.once, counts.twice, counts.lost) == (1, 1, 2)


def test_an_error_that_ran_is_counted_and_one_that_promised_otherwise_is_a_fault_of_ours() -> None:
    """PublishNotConfirmed may run all the same; after BrokerUnavailable nothing was submitted."""
    told = story(
        "0 try unsure acme",
        "1 error unsure PublishNotConfirmed",
        "0 try refused acme",
        "1 error refused BrokerUnavailable",
        *ran("unsure", "1", 2, 3),
        *ran("refused", "2", 2, 3),
        *ran("unknown", "3", 2, 3),
        "0 try wrong acme",
        "1 error wrong HTTP-500",
    )
    counts = count(told)
    assert (counts.error_ran, counts.refused_ran, counts.stray, counts.misnamed) == (2, 1, 1, 1)


@pytest.mark.parametrize(
    ("fault", "unexplained"),
    [
        (Fault("kill", 4.0, 4.0, worker="w1"), 0),
        (Fault("kill", 5.1, 5.1, worker="w1"), 0),  # its acknowledgement was on the way
        (Fault("kill", 5.5, 5.5, worker="w1"), 1),
        (Fault("kill", 4.0, 4.0, worker="w2"), 1),
        (Fault("stop", 4.0, 4.0, worker="w1", doubles=False), 1),
        (Fault("broker", 1.0, 2.9), 0),  # a worker had it in its pool
        (Fault("half-open", 1.0, 1.0, after=12.0), 0),
    ],
)
def test_only_what_was_in_flight_at_a_fault_may_run_twice(fault: Fault, unexplained: int) -> None:
    """A body that ran on what was hit, from shortly before to shortly after the fault."""
    told = story(*submitted("a"), *ran("a", "1", 3, 5), *ran("a", "2", 8, 9))
    told.faults.append(fault)
    counts = count(told)
    assert counts.unexplained == unexplained
    assert counts.twice == 1


@pytest.mark.parametrize(
    ("forgetting", "unexplained"),
    [
        (None, 1),
        (Fault("flush", 4.0, 4.1, doubles=False, redis="empty"), 1),
        (Fault("flush", 7.5, 7.5, doubles=False, redis="empty"), 0),
        (Fault("flush", 9.5, 9.5, doubles=False, redis="empty"), 1),
        (Fault("kill -9 of Redis", 6.0, 6.2, doubles=False, redis="away"), 0),  # not yet on disk
        (Fault("kill -9 of Redis", 6.8, 7.1, doubles=False, redis="away"), 0),  # not asked when it came back
        (Fault("kill -9 of Redis", 6.6, 6.7, doubles=False, redis="away"), 0),
        (Fault("kill -9 of Redis", 4.0, 4.2, doubles=False, redis="away"), 1),
    ],
)
def test_what_had_ended_long_before_runs_twice_only_if_broker_and_redis_forgot_it(
    forgetting: Fault | None, unexplained: int
) -> None:
    told = story(*submitted("a"), *ran("a", "1", 3, 5), *ran("a", "2", 8, 9))
    told.faults.append(Fault("kill -9 of the broker", 7.0, 7.5, unwrites=True))
    if forgetting is not None:
        told.faults.append(forgetting)
    assert count(told).unexplained == unexplained


@pytest.mark.parametrize(
    ("delay", "flushed", "unexplained"), [(1.0, 8.0, 0), (1.0, None, 1), (6.4, 8.0, 1), (0.0, 8.0, 1)]
)
def test_what_a_delay_queue_had_let_go_comes_once_more_and_runs_only_if_redis_forgot_it(
    delay: float, flushed: float | None, unexplained: int
) -> None:
    """Both copies are delivered after the kill, if it was due before."""
    told = story(f"0 try a acme {delay}", "0 ok a", *ran("a", "1", 7, 8), *ran("a", "2", 9, 10))
    told.faults.append(Fault("kill -9 of the broker", 3.0, 3.5, unwrites=True))
    if flushed is not None:
        told.faults.append(Fault("flush", flushed, flushed, doubles=False, redis="empty"))
    assert count(told).unexplained == unexplained


@pytest.mark.parametrize(
    ("removal", "flushed", "unexplained"), [(1.5, 8.0, 0), (1.5, None, 1), (0.5, 8.0, 1)]
)
def test_what_had_been_a_lost_task_comes_once_more_and_runs_only_if_redis_forgot_it(
    removal: float, flushed: float | None, unexplained: int
) -> None:
    """It was submitted before the kill, and while its queue was being removed."""
    removed = sorted(
        [f"{removal} removed 1 acme", *submitted("a", 1)], key=lambda line: float(line.split()[0])
    )
    told = story("0 reaping 1", *removed, *ran("a", "1", 7, 8), *ran("a", "2", 9, 10))
    told.faults.append(Fault("kill -9 of the broker", 3.0, 3.5, unwrites=True))
    if flushed is not None:
        told.faults.append(Fault("flush", flushed, flushed, doubles=False, redis="empty"))
    assert count(told).unexplained == unexplained


def test_a_submission_under_way_is_in_flight_unless_it_was_refused() -> None:
    """A publisher sends what was under way on a lost connection again."""
    told = story("3 try a acme", "5 ok a", "3 try b acme", "5 error b BrokerUnavailable")
    told.faults.append(Fault("broker", 4.0, 4.5))
    assert (count(told).hits, count(told).in_flight) == (1, 1)


@pytest.mark.parametrize(("killed", "unexplained"), [(10.8, 0), (11.0, 0), (10.5, 1), (11.5, 1)])
def test_a_delayed_task_is_in_flight_while_it_moves_on_the_ladder(killed: float, unexplained: int) -> None:
    """One second is a level of 0.8 s and one of 0.2 s."""
    told = story(
        "10 try a acme 1.0",
        "10 ok a",
        *ran("a", "1", 20, 21),
        *ran("a", "2", 22, 23),
    )
    told.faults.append(Fault("broker", killed, killed, before=0.01, after=0.01))
    assert count(told).unexplained == unexplained


def test_a_deleted_queue_excuses_only_what_it_may_have_held() -> None:
    """Tasks of its tenant that were submitted before the end of the deletion and had not begun before it."""
    told = story(
        *submitted("held", 1), *submitted("begun", 1), *submitted("later", 9), *ran("begun", "1", 2, None)
    )
    told.faults.append(Fault("deleted", 4.0, 4.1, tenant="acme"))
    counts = count(told)
    assert (counts.deleted, counts.lost) == (1, 2)


def test_a_race_is_a_submission_during_an_attempt_to_remove_its_queue() -> None:
    """Whether the queue went or stayed; another tenant's removal is none."""
    told = story(
        "1 reaping 1",
        "2 try a acme",
        "2 ok a",
        "2 try b other",
        "2 ok b",
        "3 spared 1 acme",
        "5 try c acme",
        "5 ok c",
    )
    assert (count(told).races, count(told).removals) == (1, 0)


def test_the_throughput_is_back_when_it_was_high_for_a_second() -> None:
    """It is compared with what was usual; a next fault that comes too soon leaves the question open."""
    ends = [10 + each / 10 for each in range(10)] + [13 + each / 50 for each in range(200)]
    assert back_after(ends, 10.0, 30.0, 50.0) == pytest.approx(2.9, abs=0.2)
    assert back_after(ends, 10.0, 12.0, 50.0) is None
    assert back_after(ends, 10.0, 30.0, 500.0) == inf


def test_a_bar_that_is_missed_is_named() -> None:
    """Also if too few faults have hit anything, since such a run shows nothing."""
    told = story(*submitted("a"))
    missed = {
        check.what for check in checks(count(told), hits=1, races=0, slopes={"w1": 2.0}) if not check.kept
    }
    assert missed == {"lost", "faults that hit work in flight", "MB a minute that w1 grew"}


def test_the_first_three_minutes_do_not_count_for_growth() -> None:
    """A megabyte a minute afterwards is a slope of one; too short a time has none."""
    grown = [(at, 1e9 if at < 180 else at / 60 * 1e6) for at in range(0, 400, 5)]
    assert slope_of([(float(at), size) for at, size in grown]) == pytest.approx(1.0)
    assert slope_of([(float(at), size) for at, size in grown if at < 200]) is None
