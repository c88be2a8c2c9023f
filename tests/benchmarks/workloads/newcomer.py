"""A newcomer's first task beside T backlogged tenants of 20 ms tasks, and on an idle system.

The newcomer's queue exists and is idle, or must be declared first. Beside a backlog the wait is counted also from the
next slot that freed, since nobody can start sooner.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from benchmarks.bench import WORKERS, Outcome, tenants, watch
from benchmarks.fleet import CONCURRENCY
from benchmarks.loader import Task
from benchmarks.results import percentile
from benchmarks.waits import overtaken, summary, waits, waits_for_slot
from support.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.stamps import Stamp, Stamps
    from benchmarks.systems import System

NAME = "newcomer"
SECONDS = 0.02
_IDLE, _NEW = "idle", "new"
_RANCH_TENANTS = 100  # more are too many for it
_FIRST = 1_000_000  # the key of the first newcomer; below are the backlogged tenants'
_PAUSE = 0.03  # mean seconds between two newcomers


def run(bench: Bench) -> None:
    """Measure the systems, idle and beside each number of backlogged tenants."""
    for beside in (0, *bench.profile.newcomer_backlogs):
        for kind in bench.chosen(bench.profile.newcomer_systems):
            if kind.on_redis and beside > _RANCH_TENANTS:
                continue
            with bench.place(kind) as system:
                for case, outcome in _measure(bench, system, beside):
                    bench.add(NAME, system, f"{case} queue, T={beside}", outcome)


def _measure(bench: Bench, system: System, beside: int) -> Iterator[tuple[str, Outcome]]:
    samples = bench.profile.newcomers
    backlogged = tenants(beside)
    idle = [
        f"n{number}" for number in range(samples)
    ]  # each comes once: who came a moment ago is no newcomer
    kinds = [_IDLE, _NEW] if system.key in {"recipe", "turns"} else [_IDLE]  # the others declare nothing
    say(f"  {system.title}: {samples} newcomers of each kind beside {beside} backlogged tenants")
    system.declare([*backlogged, *idle])
    name, stamps = system.lab.run(NAME)
    # Twice of what all slots can do until the last sample, and two tasks for each tenant at least.
    slots = WORKERS * CONCURRENCY
    lasts = samples * len(kinds) * _PAUSE * 2 + 10
    each = max(2, int(lasts * slots / SECONDS / beside)) if beside else 0
    published = system.load(
        name, (Task(tenant, key, SECONDS) for _ in range(each) for key, tenant in enumerate(backlogged))
    )
    system.get_acquainted(idle)
    random.seed(1)
    confirmed: dict[str, dict[int, float]] = {kind: {} for kind in kinds}
    with system.workers(WORKERS, [*backlogged, *idle]) as fleet:
        if beside:
            watch(stamps, fleet, min(4 * slots, published), 20)
        time.sleep(2)
        for number in range(samples):
            for kind in kinds:
                tenant = f"new{number}" if kind == _NEW else idle[number]
                key = _FIRST + 2 * number + (kind == _NEW)
                confirmed[kind][key] = system.submit(name, Task(tenant, key), declare=kind == _NEW)
                time.sleep(random.uniform(0.5, 1.5) * _PAUSE)
        ran = _wait(stamps, samples * len(kinds), bench.profile.newcomer_limit)
    left = published - sum(stamp.key < _FIRST for stamp in ran)
    note = "" if left > 0 or not beside else "the backlog ran out"
    for kind, times in confirmed.items():
        figures = summary(waits(times, ran))
        if beside:
            figures |= summary(waits_for_slot(times, ran), "from slot ")
            others = overtaken(times, ran)
            figures |= {"overtaken p50": percentile(others, 50), "overtaken p99": percentile(others, 99)}
        yield kind, Outcome(figures, sum(stamp.key in times for stamp in ran), samples, note)


def _wait(stamps: Stamps, newcomers: int, seconds: float) -> list[Stamp]:
    """Wait until all newcomers' tasks ran or the time is over; return what ran."""
    deadline = time.monotonic() + seconds
    while True:
        ran = stamps.read()
        if sum(stamp.key >= _FIRST for stamp in ran) >= newcomers or time.monotonic() > deadline:
            return ran
        time.sleep(0.5)
