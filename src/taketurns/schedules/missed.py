"""Which runs of a schedule are to be submitted now. Pure: no I/O, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taketurns.schedules.schedule import Missed
    from taketurns.schedules.timing import Timing


class Plan(NamedTuple):
    """What is to be done about a schedule that is due."""

    runs: Sequence[float]
    """The due times of the runs to submit, in this order."""
    following: float
    """When it is due next."""
    missed: float | None
    """The last due time that is left out; None: there is none."""


def plan(timing: Timing, first: float, now: float, missed: Missed, *, grace: float, most: int) -> Plan:
    """Decide what to submit of what has become due.

    Args:
        timing: when it is due.
        first: the first due time that was not dealt with yet, now or in the past.
        now: the time.
        missed: what becomes of runs that are too late.
        grace: seconds that a run may be late.
        most: how many runs ``all`` submits at most, the latest ones.
    """
    kept = most if missed == "all" else 1
    times = timing.latest(first, now, kept + 1) or [first]  # the time zone may have changed since
    following = timing.after(max(now, times[-1]))
    if missed == "skip" and now - times[-1] > grace:
        return Plan((), following, times[-1])
    left_out = times[-kept - 1] if len(times) > kept and missed != "once" else None
    return Plan(times[-kept:], following, left_out)
