"""Limited tenants under backlog on four workers: tokens used, over-admissions, and deliveries per task.

The limiter is judged by the time stamps of the tasks: a task that started earlier than its tenant's rate allows,
counted as the limiter counts (GCRA), with a tolerance for starts that come late, is an over-admission.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.bench import Outcome, tenants, watch
from benchmarks.broker_view import deliveries
from benchmarks.loader import Task
from benchmarks.stamps import starts_by_key
from support.progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench
    from benchmarks.systems import Turns

NAME = "limits"
WORKERS = 4
_TENANTS = 40
_RATE = 5  # tasks a second
_INTERVAL = 1 / _RATE
_LATE = 0.1 * _INTERVAL  # how late a start may be without moving later ones, by the limiter's own rule
_TOLERANCE = 0.05  # seconds between the limiter's decision and the task's stamp, more than another's


def run(bench: Bench) -> None:
    """Measure taketurns; the others have no limits for each tenant."""
    if bench.measures_turns:
        with bench.turns() as turns:
            case = f"{_TENANTS} tenants of {_RATE}/1s, {WORKERS} workers"
            bench.add(NAME, turns, case, _measure(bench, turns))


def _measure(bench: Bench, system: Turns) -> Outcome:
    names = tenants(_TENANTS)
    starts = int(bench.profile.limit_seconds * _RATE)
    say(f"  {system.title}: {_TENANTS} tenants of {_RATE}/1s for {bench.profile.limit_seconds:g} s")
    for tenant in names:
        system.turns.registry.update(tenant, rate_limit=f"{_RATE}/1s")
    system.declare(names)
    name, stamps = system.lab.run(NAME)
    each = starts + 10 * _RATE
    of = system.load(name, (Task(tenant, key) for _ in range(each) for key, tenant in enumerate(names)))
    with system.workers(WORKERS) as fleet:
        watch(stamps, fleet, _TENANTS, 20)
        time.sleep(bench.profile.limit_seconds + 1)
    ran = stamps.read()
    by_key = starts_by_key(ran)
    window = (starts - 0.5) * _INTERVAL
    used = sum(sum(at <= times[0] + window for at in times) for times in by_key.values())
    figures = {
        "tokens used %": used / (starts * _TENANTS) * 100,
        "over-admissions": float(sum(map(over_admissions, by_key.values()))),
        "deliveries/task": deliveries(system.lab) / len(ran) if ran else float("nan"),
    }
    return Outcome(figures, of, of)


def over_admissions(
    times: Sequence[float], interval: float = _INTERVAL, tolerance: float = _LATE + _TOLERANCE
) -> int:
    """Count the starts that the generic cell rate algorithm would not admit.

    Args:
        times: when the tasks of one tenant started, in order.
        interval: seconds between two starts.
        tolerance: how much earlier than that a start may be.
    """
    count, allowed = 0, float("-inf")
    for at in times:
        if at < allowed - tolerance:
            count += 1
        else:
            allowed = max(at, allowed) + interval
    return count
