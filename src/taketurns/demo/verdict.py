"""What the demo promises, and whether this run kept it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from taketurns.demo.names import D_RATE
from taketurns.demo.record import most_within, percentile, smallest_gap
from taketurns.limits.rate import parse_rate

if TYPE_CHECKING:
    from collections.abc import Collection

    from taketurns.demo.record import Record

TIMES_SHORTER: Final = 20
"""By how much B's and C's median wait has to be shorter than through one queue, at least."""

LEAST_GAP: Final = 0.9
"""The distance of two starts of a smoothly throttled tenant, in intervals of its rate, at least."""

_SHORTEST: Final = 0.001


@dataclass(frozen=True)
class Bar:
    """One promise: what was measured beside what was promised, and whether it was kept."""

    text: str
    met: bool


def judge(one_queue: Record, turns: Record, queues_left: Collection[str]) -> list[Bar]:
    """Measure both rounds against every promise."""
    return [
        *(_shorter(tenant, one_queue, turns) for tenant in ("B", "C")),
        *_throttled(turns.starts("D")),
        Bar(
            f"tenant queues left at the end: {', '.join(sorted(queues_left)) or 'none'} (bar: none)",
            met=not queues_left,
        ),
    ]


def times_shorter(tenant: str, one_queue: Record, turns: Record) -> float:
    """Return how many times shorter a tenant's median wait is through tenant queues than through one.

    A task often starts before its submitter hears that it is confirmed; a median below a millisecond counts as one.
    """
    before, now = (percentile(record.waits(tenant), 50) or 0.0 for record in (one_queue, turns))
    return before / max(now, _SHORTEST)


def _shorter(tenant: str, one_queue: Record, turns: Record) -> Bar:
    times = times_shorter(tenant, one_queue, turns)
    return Bar(
        f"{tenant}'s median wait is {times:.0f} times shorter than through one queue (bar: {TIMES_SHORTER})",
        met=times >= TIMES_SHORTER,
    )


def _throttled(starts: list[float]) -> list[Bar]:
    rate = parse_rate(D_RATE)
    most, at_most = most_within(starts, rate.period), rate.count + rate.burst
    gap, at_least = smallest_gap(starts), LEAST_GAP * rate.interval
    return [
        Bar(
            f"D, limited to {rate}, started {most} tasks at most in any second (bar: {at_most})",
            met=most <= at_most,
        ),
        Bar(
            f"D's starts are {gap * 1000:.0f} ms apart at least (bar: {at_least * 1000:.0f} ms)",
            met=gap >= at_least,
        ),
    ]
