"""What the demo computes from the time stamps of its tasks."""

from __future__ import annotations

from math import inf

import pytest

from taketurns.demo.ledger import Entry
from taketurns.demo.record import Record, most_within, percentile, smallest_gap
from taketurns.demo.traffic import Counts
from taketurns.demo.verdict import judge, times_shorter


def record(**starts: list[tuple[float, float]]) -> Record:
    """Return a record of tasks by tenant, each confirmed and started at these times."""
    made = Record()
    for tenant, tasks in starts.items():
        for number, (confirmed, started) in enumerate(tasks):
            task_id = f"{tenant}{number}"
            made.submitted(tenant, task_id, confirmed)
            made.add([Entry("started", task_id, started), Entry("ended", task_id, started)])
    return made


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([1.0], 50, 1.0),
        ([1.0, 2.0], 50, 1.0),
        ([1.0, 2.0, 3.0], 50, 2.0),
        ([1.0, 2.0], 95, 2.0),
        ([], 50, None),
    ],
)
def test_percentile(values: list[float], percent: float, expected: float | None) -> None:
    """A percentile is one of the values, the smallest that enough of them do not exceed."""
    assert percentile(values, percent) == expected


def test_the_fullest_second_counts() -> None:
    """The window slides: it may begin at any start, and its end does not belong to it."""
    assert most_within([0.0, 0.9, 1.0, 1.1, 1.8, 5.0], 1.0) == 4
    assert most_within([0.0, 1.0, 2.0], 1.0) == 1
    assert most_within([], 1.0) == 0


def test_the_smallest_gap_counts() -> None:
    """One pair of starts that come too close is enough to be seen."""
    assert smallest_gap([0.0, 0.1, 0.15, 0.3]) == pytest.approx(0.05)
    assert smallest_gap([1.0]) == inf


def test_a_wait_runs_from_confirmation_to_start() -> None:
    """A task that starts before its submitter hears of the confirmation did not wait at all."""
    made = record(B=[(10.0, 10.5), (10.0, 9.99)])
    assert made.waits("B") == [0.0, 0.5]


def test_a_task_that_ran_twice_counts_once() -> None:
    """The first start of a task counts."""
    made = record(B=[(0.0, 1.0)])
    made.add([Entry("started", "B0", 7.0)])
    assert made.starts("B") == [1.0]


def test_shares_are_of_the_time_when_all_were_waiting() -> None:
    """Starts before the last one came, and after the first one was through, belong to no share."""
    made = record(
        A=[(0.0, float(i)) for i in range(100)], B=[(10.0, 10.5), (10.0, 11.5), (10.0, 11.7), (10.0, 12.5)]
    )
    assert made.shares(["A", "B"]) == {"A": 3 / 7, "B": 4 / 7}


def test_a_round_has_ended_when_each_task_has() -> None:
    """A task that has started is not done yet."""
    made = record(B=[(0.0, 1.0)])
    assert made.all_ended()
    made.submitted("B", "late", 2.0)
    made.add([Entry("started", "late", 3.0)])
    assert not made.all_ended()


def test_every_promise_that_is_kept_is_kept() -> None:
    """Measurements at the bars keep the promises."""
    slow = record(B=[(0.0, 2.0)], C=[(0.0, 2.0)])
    quick = record(B=[(0.0, 0.1)], C=[(0.0, 0.1)], D=[(0.0, 0.0), (0.0, 0.1), (0.0, 0.1901)])
    assert [bar.met for bar in judge(slow, quick, [])] == [True] * 5


def test_every_promise_that_is_broken_is_seen() -> None:
    """A wait, a rate, a gap or a queue beyond its bar is named."""
    slow = record(B=[(0.0, 1.0)], C=[(0.0, 1.0)])
    tight = [(0.0, i * 0.049) for i in range(60)]
    quick = record(B=[(0.0, 0.1)], C=[(0.0, 0.1)], D=tight)
    bars = judge(slow, quick, ["usersequence_A"])
    assert [bar.met for bar in bars] == [False] * 5
    assert "21 tasks at most" in bars[2].text
    assert "49 ms apart" in bars[3].text
    assert "usersequence_A" in bars[4].text


def test_no_wait_at_all_is_compared_as_a_millisecond() -> None:
    """A median wait of nothing is not infinitely shorter, only a thousand times than a second."""
    assert times_shorter("B", record(B=[(0.0, 1.0)]), record(B=[(0.0, 0.0)])) == 1000


def test_a_small_demo_has_all_tenants() -> None:
    """However small the scale, each tenant submits at least two tasks."""
    assert Counts().scaled(0.01) == Counts(a=30, b=2, c=2, d=2)
    assert Counts().scaled(1) == Counts(a=3000, b=50, c=50, d=60)
