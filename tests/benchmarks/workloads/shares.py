"""Shares of worker seconds: weights 1, 2 and 4, each for a tenant of 5 ms tasks and one of 500 ms tasks, backlogged.

The entitlement of a tenant is its weight's part of all seconds of all slots. A task has its slot until the next one
starts there.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.bench import WORKERS, Outcome, watch
from benchmarks.fleet import CONCURRENCY
from benchmarks.loader import Task
from support.progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench
    from benchmarks.stamps import Stamp
    from benchmarks.systems import System, Turns

NAME = "shares"
_WEIGHTS = (1, 2, 4)
_DURATIONS = (0.005, 0.5)
_TENANTS = [(weight, duration) for weight in _WEIGHTS for duration in _DURATIONS]
_SETTLED = (
    10.0  # seconds until the shares are counted; the first tasks start before it is known what they take
)


def run(bench: Bench) -> None:
    """Measure taketurns, and for comparison the systems that know no weights."""
    for kind in bench.chosen(bench.profile.unweighted_systems):
        with bench.place(kind) as system:
            _add(bench, system, _measure(bench, system))
    if bench.measures_turns:
        with bench.turns() as turns:
            for number, (weight, _) in enumerate(_TENANTS):
                _registry(turns, number, weight)
            _add(bench, turns, _measure(bench, turns))


def _registry(turns: Turns, number: int, weight: float) -> None:
    turns.turns.registry.update(_name(number), weight=weight)


def _name(number: int) -> str:
    weight, duration = _TENANTS[number]
    return f"w{weight}-{duration * 1000:.0f}ms"


def _add(bench: Bench, system: System, outcome: Outcome) -> None:
    bench.add(NAME, system, "weights 1:2:4, durations 1:100", outcome)


def _measure(bench: Bench, system: System) -> Outcome:
    seconds = bench.profile.share_seconds
    say(f"  {system.title}: shares over {seconds:g} s")
    names = [_name(number) for number in range(len(_TENANTS))]
    system.declare(names)
    name, stamps = system.lab.run(NAME)
    total = (seconds + _SETTLED + 5) * WORKERS * CONCURRENCY
    counts = [int(total / sum(_WEIGHTS) / 2 * weight / duration * 1.5) for weight, duration in _TENANTS]
    tasks = (
        Task(names[number], number, _TENANTS[number][1])
        for turn in range(max(counts))
        for number in range(len(_TENANTS))
        if turn < counts[number]
    )
    of = system.load(name, tasks)
    with system.workers(WORKERS, names) as fleet:
        watch(stamps, fleet, 20, 20)
        began = time.time() + _SETTLED
        watch(stamps, fleet, of, _SETTLED + seconds + max(_DURATIONS) * 2.5)
        ran = stamps.occupied()
    figures = judge(ran, [weight for weight, _ in _TENANTS], [each for _, each in _TENANTS], began, seconds)
    # How many tasks run is no question here.
    return Outcome(figures, of, of)


def judge(
    stamps: Sequence[Stamp],
    weights: Sequence[float],
    durations: Sequence[float],
    began: float,
    seconds: float,
) -> dict[str, float]:
    """Return each tenant's seconds over its entitlement, the largest relative error, and the largest in bars.

    An error of one bar is 3 % of the entitlement, or one task if that is more.

    Args:
        stamps: the tasks; their keys are indices into the other two.
        weights: the tenants' weights.
        durations: the seconds of one task of each tenant.
        began: the start of the window.
        seconds: its length.
    """
    used = [0.0] * len(weights)
    for stamp in stamps:
        used[stamp.key] += max(0.0, min(stamp.ended, began + seconds) - max(stamp.started, began))
    figures: dict[str, float] = {}
    errors, in_bars = [], []
    for number, weight in enumerate(weights):
        entitled = sum(used) * weight / sum(weights)
        error = abs(used[number] - entitled)
        errors.append(error / entitled if entitled else float("nan"))
        in_bars.append(error / max(0.03 * entitled, durations[number]))
        figures[f"weight {weight:g}, {durations[number] * 1000:g} ms: used/entitled"] = (
            used[number] / entitled if entitled else float("nan")
        )
    slots = WORKERS * CONCURRENCY
    return {
        "largest error %": max(errors) * 100,
        "largest error in bars": max(in_bars),
        "slots used %": sum(used) / seconds / slots * 100,
        **figures,
    }
