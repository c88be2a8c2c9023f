"""How the benchmark judges what it has measured."""

from __future__ import annotations

import struct
from math import isnan
from typing import TYPE_CHECKING

import pytest

from benchmarks import stamps
from benchmarks.bars import Judge
from benchmarks.results import Cell, Results, percentile
from benchmarks.stamps import Stamp, Stamps
from benchmarks.waits import overtaken, waits, waits_for_slot
from benchmarks.workloads import pace
from benchmarks.workloads.costs import Made, State, each
from benchmarks.workloads.limits import over_admissions
from benchmarks.workloads.shares import judge
from benchmarks.workloads.start import gap

if TYPE_CHECKING:
    from pathlib import Path


def test_a_percentile_is_a_value_that_occurred() -> None:
    """The nearest rank: of a hundred values the 99th percentile is the last but one."""
    assert percentile(range(1, 101), 99) == 99
    assert percentile([7.0], 99) == 7
    assert isnan(percentile([], 50))


def test_a_task_leaves_a_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stamps are read back in the order of the starts, without those of another run."""
    monkeypatch.setenv(stamps.DIRECTORY, str(tmp_path))
    monkeypatch.setattr(stamps, "_files", {})
    for run, key in (("a-1", 5), ("a-1", 6), ("a-10", 7)):
        stamps.work(run, key, 0.001)
    read = Stamps(tmp_path, "a-1")
    assert len(read) == 2
    assert [stamp.key for stamp in read.read()] == [5, 6]
    assert all(stamp.ended - stamp.started >= 0.001 for stamp in read.read())


def test_a_wait_runs_from_the_confirmed_publish_or_from_the_next_slot_freed() -> None:
    """A slot that freed before the publish does not count, and nobody waits less than nothing."""
    ran = [Stamp(0, 0.0, 9.0), Stamp(0, 0.0, 12.0), Stamp(1, 12.5, 12.6)]
    assert waits({1: 10.0}, ran) == [2.5]
    assert waits_for_slot({1: 10.0}, ran) == [0.5]
    assert waits({1: 13.0}, ran) == [0.0]


def test_who_had_the_slots_that_freed_before_a_task_is_counted() -> None:
    """Those that started after the first slot had freed and before the task; none if that slot was the task's."""
    ran = [
        Stamp(0, 1.0, 9.9),
        Stamp(0, 1.0, 10.5),
        Stamp(0, 10.6, 20),
        Stamp(0, 11.0, 11.1),
        Stamp(1, 11.2, 12.0),
    ]
    assert overtaken({1: 10.0}, ran) == [2]
    assert overtaken({1: 10.0}, [*ran[:2], ran[-1]]) == [0]


def test_a_start_before_its_time_is_an_over_admission() -> None:
    """Late starts earn no earlier ones, except within the tolerance."""
    assert over_admissions([0.0, 0.2, 0.4, 0.6], interval=0.2, tolerance=0.01) == 0
    assert over_admissions([0.0, 0.195, 0.395], interval=0.2, tolerance=0.01) == 0
    assert over_admissions([0.0, 0.1, 0.2], interval=0.2, tolerance=0.01) == 1
    assert over_admissions([0.0, 0.3, 0.4], interval=0.2, tolerance=0.01) == 1


def test_a_slot_is_its_tasks_until_the_next_one_starts(tmp_path: Path) -> None:
    """What a task costs beside its body counts for its tenant; the last one of a process has no end yet."""
    for process, records in enumerate([[(0, 1.0, 1.5), (1, 2.0, 2.5), (0, 4.0, 4.5)], [(1, 1.0, 3.0)]]):
        data = b"".join(struct.pack("qdd", *record) for record in records)
        (tmp_path / f"run.{process}").write_bytes(data)
    assert Stamps(tmp_path, "run").occupied() == [Stamp(0, 1.0, 2.0), Stamp(1, 2.0, 4.0)]


def test_a_share_is_judged_within_the_window() -> None:
    """Tasks at the edges count with their part, and an error of one task is an error of one bar."""
    ran = [Stamp(0, -1.0, 1.0), Stamp(0, 1.0, 4.0), Stamp(1, 0.0, 6.0), Stamp(1, 6.0, 9.0)]
    figures = judge(ran, [1, 2], [3.0, 3.0], 0.0, 8.0)
    assert figures["largest error %"] == pytest.approx(0)
    off = judge([Stamp(0, 0.0, 3.0), Stamp(1, 0.0, 3.0)], [1, 2], [1.0, 1.0], 0.0, 3.0)
    assert off["largest error in bars"] == pytest.approx(1.0)


def test_a_bar_is_kept_missed_or_not_measured() -> None:
    """What counts is the median over the rounds on one broker, and a missing part makes no verdict."""
    results = Results(
        cells=[
            Cell("pace", "RabbitMQ 3.10", "turns", case, {figure: ratio}, 1, 1)
            for case, figure, ratio in (
                ("T=1", pace.OF_FIFO, 0.1),
                ("T=1", pace.OF_FIFO, 0.96),
                ("T=1", pace.OF_FIFO, 0.97),
                ("T=1000", pace.OF_ONE, 0.8),
            )
        ]
    )
    verdicts = {bar.text: bar.verdict for bar in Judge(results, "RabbitMQ 3.10", "3.10.8").bars()}
    assert verdicts["throughput at T=1, of one FIFO queue's"] == "kept"
    assert verdicts["throughput at T=1,000, of that at T=1"] == "missed"
    assert verdicts["throughput at T=10,000, of that at T=1"] == "not measured"
    assert {bar.verdict for bar in Judge(results, "RabbitMQ 4.3", "4.3.6").bars()} == {"not measured"}


def test_a_cost_is_the_difference_for_each_that_was_made() -> None:
    """Memory is what was added; the CPU is that of the whole node, since an empty one takes some too."""
    figures = each(State(1e6, 5e6, 0.1), State(3e6, 9e6, 0.7), Made(200, 4.0, 1.0))
    assert figures == {
        "used kB each": 10,
        "RSS kB each": 20,
        "idle CPU %": 0.7,
        "made/s": 50,
        "CPU ms to make": 5,
    }


def test_a_gap_is_a_slot_without_a_task_between_two() -> None:
    """One task, or none, has no gap."""
    assert gap([Stamp(0, 1.0, 1.5), Stamp(1, 1.6, 2.0), Stamp(0, 4.0, 4.5)]) == 2.0
    assert gap([Stamp(0, 1.0, 1.5)]) == 0


def test_a_start_has_bars_of_its_own() -> None:
    """They are judged where a start was measured, and `make bench` does not print them as not measured."""
    results = Results(
        cells=[
            Cell(
                "start", "RabbitMQ 3.10", "turns", "alone", {"first task s": 0.9, "loop late by ms": 60}, 1, 1
            )
        ]
    )
    judging = Judge(results, "RabbitMQ 3.10", "3.10.8")
    verdicts = [bar.verdict for bar in judging.start_bars()]
    assert verdicts == ["kept", "not measured", "missed", *["not measured"] * 4]
    assert not {bar.text for bar in judging.start_bars()} & {bar.text for bar in judging.bars()}
