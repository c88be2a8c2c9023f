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
from benchmarks.progress import say
from benchmarks.waits import summary, waits, waits_for_slot

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.systems import System

NAME = "newcomer"
SECONDS = 0.02
_IDLE_QUEUES = 50
_FIRST = 1_000_000  # the key of the first newcomer; below are the backlogged tenants'
_PAUSE = 0.06  # mean seconds between two newcomers


def run(bench: Bench) -> None:
    """Measure every system, idle and beside each number of backlogged tenants."""
    for beside in (0, *bench.profile.newcomer_backlogs):
        for kind in bench.chosen():
            if kind.key == "ranch" and beside > 100:  # it does not get as far as that
                continue
            for new in (False, True):
                if new and kind.key in {"fifo", "ranch"}:
                    continue  # they declare nothing
                with bench.place(kind) as system:
                    case = f"{'new queue' if new else 'idle queue'}, T={beside}"
                    bench.add(NAME, system, case, _measure(bench, system, beside, new=new))


def _measure(bench: Bench, system: System, beside: int, *, new: bool) -> Outcome:
    samples = bench.profile.newcomers
    backlogged = tenants(beside)
    idle = [f"n{number}" for number in range(_IDLE_QUEUES)]
    say(f"  {system.title}: {samples} newcomers beside {beside} backlogged tenants")
    system.declare([*backlogged, *idle])
    name, stamps = system.lab.run(NAME)
    # Twice of what all slots can do until the last sample, and two tasks for each tenant at least.
    slots = WORKERS * CONCURRENCY
    lasts = samples * _PAUSE * 2 + 10
    each = max(2, int(lasts * slots / SECONDS / beside)) if beside else 0
    published = system.load(
        name, (Task(tenant, key, SECONDS) for _ in range(each) for key, tenant in enumerate(backlogged))
    )
    system.get_acquainted(idle)
    random.seed(1)
    confirmed: dict[int, float] = {}
    with system.workers(WORKERS, [*backlogged, *idle]) as fleet:
        if beside:
            watch(stamps, fleet, min(4 * slots, published), 20)
        time.sleep(2)
        for number in range(samples):
            tenant = f"new{number}" if new else idle[number % _IDLE_QUEUES]
            key = _FIRST + number
            confirmed[key] = system.submit(name, Task(tenant, key), declare=new)
            time.sleep(random.uniform(0.5, 1.5) * _PAUSE)
        deadline = time.monotonic() + bench.profile.newcomer_limit
        while time.monotonic() < deadline:
            ran = stamps.read()
            if sum(stamp.key >= _FIRST for stamp in ran) >= samples:
                break
            time.sleep(0.5)
        left = published - sum(stamp.key < _FIRST for stamp in ran)
    figures = summary(waits(confirmed, ran))
    if beside:
        figures |= summary(waits_for_slot(confirmed, ran), "from slot ")
    note = "" if left > 0 or not beside else "the backlog ran out"
    return Outcome(figures, sum(stamp.key >= _FIRST for stamp in ran), samples, note)
