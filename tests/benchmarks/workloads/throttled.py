"""Throttled and backlogged tenants beside ten free ones: these have all slots, and no worker's loop blocks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.bench import WORKERS, Outcome, tenants, watch
from benchmarks.fleet import CONCURRENCY
from benchmarks.loader import Task
from support.progress import say

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.systems import Turns

NAME = "throttled"
ALONE = "beside 0 throttled"
USED, LATE = "slots used by the free ones %", "loops late by ms"
_SECONDS = 0.01
_FREE = [f"free{number}" for number in range(10)]
_PERIOD = 100  # seconds for one task of a throttled tenant: a thousand of them run ten tasks a second


def run(bench: Bench) -> None:
    """Measure taketurns, without and with the throttled tenants; the others throttle nobody."""
    if bench.measures_turns:
        for count in (0, bench.profile.throttled):
            with bench.turns() as turns:
                bench.add(NAME, turns, f"beside {count} throttled", _measure(bench, turns, count))


def _measure(bench: Bench, system: Turns, count: int) -> Outcome:
    names = tenants(count)
    seconds = bench.profile.limit_seconds
    free = int(seconds * WORKERS * CONCURRENCY / _SECONDS)
    say(f"  {system.title}: {free} tasks of {len(_FREE)} free tenants beside {count} throttled tenants")
    for tenant in names:
        system.turns.registry.update(tenant, rate_limit=f"1/{_PERIOD}s")
    system.declare([*names, *_FREE])
    name, stamps = system.lab.run(NAME)
    each = int(seconds / _PERIOD) + 10
    system.load(name, (Task(tenant, key) for _ in range(each) for key, tenant in enumerate(names)))
    lags: list[float] = []
    with system.workers(WORKERS) as fleet:
        watch(stamps, fleet, count, 30)
        time.sleep(2)
        system.status(fleet)  # forgets by how much the loops were late at the start
        name, stamps = system.lab.run(NAME)
        system.load(name, (Task(_FREE[number % len(_FREE)], 0, _SECONDS) for number in range(free)))
        watch(
            stamps,
            fleet,
            free,
            seconds * 3,
            lambda: lags.extend(status["loop_lag"] for status in system.status(fleet)),
        )
        ran = stamps.read()
    took = ran[-1].ended - ran[0].started if len(ran) > 1 else float("nan")
    figures = {
        USED: len(ran) * _SECONDS / took / WORKERS / CONCURRENCY * 100,
        LATE: max(lags, default=float("nan")) * 1000,
    }
    return Outcome(figures, len(ran), free)
