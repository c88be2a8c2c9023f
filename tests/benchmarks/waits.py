"""How long tasks waited: from the confirmed publish, and from the next slot that freed after it; who came before."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from benchmarks.results import percentile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.stamps import Stamp


def waits(confirmed: Mapping[int, float], stamps: Sequence[Stamp]) -> list[float]:
    """Return the seconds from each task's confirmed publish to its start, for those that ran.

    Args:
        confirmed: when the task of each key was confirmed.
        stamps: all tasks that ran.
    """
    return [max(0.0, stamp.started - confirmed[stamp.key]) for stamp in stamps if stamp.key in confirmed]


def overtaken(confirmed: Mapping[int, float], stamps: Sequence[Stamp]) -> list[int]:
    """Return how many other tasks started before each task, from the first end of any after its publish on.

    Zero if it had that slot; one if the worker whose slot it was knew too late of the task, and so on.
    """
    starts = sorted(stamp.started for stamp in stamps)
    return [
        max(0, bisect_left(starts, stamp.started) - bisect_left(starts, freed))
        for stamp, freed in _freed(confirmed, stamps)
    ]


def waits_for_slot(confirmed: Mapping[int, float], stamps: Sequence[Stamp]) -> list[float]:
    """Return the seconds from the first end of any task after each confirmed publish to the task's start.

    A task that started before that, in a slot that was free, waited for no slot: 0.
    """
    return [max(0.0, stamp.started - freed) for stamp, freed in _freed(confirmed, stamps)]


def _freed(confirmed: Mapping[int, float], stamps: Sequence[Stamp]) -> Iterator[tuple[Stamp, float]]:
    """Give each task with the first end of any task after its publish."""
    ends = sorted(stamp.ended for stamp in stamps)
    for stamp in stamps:
        if stamp.key in confirmed:
            yield stamp, ends[min(bisect_left(ends, confirmed[stamp.key]), len(ends) - 1)]


def summary(values: Sequence[float], label: str = "") -> dict[str, float]:
    """Return the median and the 99th percentile, in milliseconds."""
    return {f"{label}p50 ms": percentile(values, 50) * 1000, f"{label}p99 ms": percentile(values, 99) * 1000}
