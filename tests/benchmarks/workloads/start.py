"""A worker that starts while there are 10,000 tenant queues: when its first task runs, when it serves them all.

Alone, as a second one that joins, and as a third one that is left alone when both are killed, with queues that had no
other worker. The first tasks and the gaps between tasks come from the tasks' stamps.
"""

from __future__ import annotations

import math
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.bench import Outcome, tenants, watch
from benchmarks.loader import Task
from benchmarks.waits import waits
from support.progress import say
from taketurns.settings import WorkerSettings
from taketurns.tenants import queue_name
from taketurns.worker.ownership import owners_of_each, ranks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.bench import Bench
    from benchmarks.fleet import Fleet
    from benchmarks.stamps import Stamp, Stamps
    from benchmarks.systems import Turns

NAME = "start"
ALONE, JOINING, LEFT = "alone", "joining another", "left by two"
FIRST, SERVING, LATE = "first task s", "serves its share s", "loop late by ms"
TAKEN = "tasks of killed workers' tenants wait s"
TASKS = 20  # of each backlogged tenant
_SECONDS = 0.01
_INTERVAL = 0.1
_ORPHANS = (
    300  # tenants that have a task when the workers are killed; about a third of them had no other worker
)
_MOST = int(WorkerSettings.model_fields["max_consumers"].default)


class Seen(NamedTuple):
    """What was seen of a worker's start; times since the epoch, NaN is never."""

    serving: float
    late: float
    """Seconds by which its loop was late at worst."""
    others_late: float
    """The same of the workers that ran before."""


def run(bench: Bench) -> None:
    """Start one worker, then another one, and a third one that is left alone."""
    if not bench.measures_turns:
        return
    with bench.fresh_turns() as turns:
        count, backlogged = bench.profile.start_tenants, bench.profile.start_backlogged
        say(f"  {count} queues are declared, {backlogged} are filled")
        names = tenants(count)
        turns.declare(names)
        run, stamps = turns.lab.run(NAME)
        turns.load(run, (Task(names[key], key, _SECONDS) for _ in range(TASKS) for key in range(backlogged)))
        spawned = time.time()
        with turns.workers(1) as first:
            bench.add(NAME, turns, ALONE, _observe(bench, turns, stamps, spawned, first, None))
            spawned = time.time()
            with turns.workers(1) as second:
                bench.add(NAME, turns, JOINING, _observe(bench, turns, stamps, spawned, second, first))
                with turns.workers(1) as third:
                    share = _share(bench, [*first.names, *second.names, *third.names], third.names[0])
                    _watch(bench, turns, third, None, share)
                    watch(
                        stamps, third, TASKS * backlogged, bench.profile.start_limit
                    )  # or they wait for turns
                    bench.add(NAME, turns, LEFT, _leave(bench, turns, [first, second]))


def _observe(
    bench: Bench, turns: Turns, stamps: Stamps, spawned: float, new: Fleet, old: Fleet | None
) -> Outcome:
    """Watch a worker until it serves its share, or the time is over."""
    (name,) = new.names
    share = _share(bench, [name, *(old.names if old else ())], name)
    seen = _watch(bench, turns, new, old, share)
    ready = float((turns.lab.directory / f"ready.{name}").read_text())
    own = [slot for slot in stamps.by_process() if _parent(slot.process) == new.pid(name)]
    first = min((stamp.started for slot in own for stamp in slot.stamps), default=math.nan)
    figures = {
        "ready s": ready - spawned,
        FIRST: first - ready,
        "first task from spawn s": first - spawned,
        SERVING: seen.serving - ready,
        "serving from spawn s": seen.serving - spawned,
        LATE: seen.late * 1000,
        "longest gap between tasks ms": max((gap(slot.stamps) for slot in own), default=math.nan) * 1000,
    }
    if old is not None:
        figures["the other's loop late by ms"] = seen.others_late * 1000
    return Outcome(figures, int(not math.isnan(seen.serving)), 1)


def _watch(bench: Bench, turns: Turns, new: Fleet, old: Fleet | None, share: int) -> Seen:
    wanted = share - bench.profile.start_backlogged  # a queue with a backlog has no consumer
    late = others_late = 0.0
    serving = math.nan
    if old is not None:
        turns.status(old)  # forgets by how much its loop was late before
    deadline = time.monotonic() + bench.profile.start_limit
    while math.isnan(serving) and time.monotonic() < deadline:
        new.check()
        for status in turns.status(new):
            late = max(late, status["loop_lag"])
            if status["queues"] >= share and status["listening"] >= wanted:
                serving = time.time()
        time.sleep(_INTERVAL)
    time.sleep(1)  # what the last subscriptions and the first turns after them bring
    late = max([late, *(status["loop_lag"] for status in turns.status(new))])
    if old is not None:
        others_late = max((status["loop_lag"] for status in turns.status(old)), default=math.nan)
    return Seen(serving, late, others_late)


def _leave(bench: Bench, turns: Turns, dying: Sequence[Fleet]) -> Outcome:
    """Kill workers, and submit a task for each of many tenants in that moment."""
    names = tenants(bench.profile.start_tenants)[-_ORPHANS:]
    run, stamps = turns.lab.run(NAME)
    turns.get_acquainted(names)
    for fleet in dying:
        fleet.kill()
    confirmed = {key: turns.submit(run, Task(tenant, key)) for key, tenant in enumerate(names)}
    deadline = time.monotonic() + bench.profile.start_limit
    while len(stamps.read()) < _ORPHANS and time.monotonic() < deadline:
        time.sleep(_INTERVAL)
    ran = stamps.read()
    longest = max(waits(confirmed, ran)) if len(ran) == _ORPHANS else math.inf
    return Outcome({TAKEN: longest}, len(ran), _ORPHANS)


def _share(bench: Bench, workers: Sequence[str], name: str) -> int:
    """Return how many queues a worker has to serve."""
    count = bench.profile.start_tenants
    queues = map(queue_name, tenants(count))
    return len(ranks(queues, name, workers, owners_of_each(count, len(workers), _MOST)))


def gap(stamps: Iterable[Stamp]) -> float:
    """Return the longest time in seconds that a slot had no task, between two; 0 if it had one at most."""
    return max((after.started - before.ended for before, after in pairwise(stamps)), default=0.0)


def _parent(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("PPid:"))
