"""Throughput side by side: one backlog of no-op tasks is worked on for a few seconds while others' workers halt.

Two cells of the throughput workload lie minutes apart, and a machine that others use too changes its speed by more
than what they are compared by. Here all of a group are there at once, each with workers of its own, and what counts
is the median of the ratios of slices that follow each other.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.bench import WORKERS, Outcome, tenants
from benchmarks.loader import Task
from benchmarks.systems import Fifo, Turns
from support.progress import say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.bench import Bench
    from benchmarks.fleet import Fleet
    from benchmarks.stamps import Stamps
    from benchmarks.systems import System

NAME: Final = "pace"
RATE: Final = "tasks/s"
OF_FIFO, OF_ONE = "of one FIFO queue's", "of T=1's"
_GROUPS: Final = (((Fifo, 1), (Turns, 1), (Turns, 200), (Turns, 1000)), ((Turns, 1), (Turns, 10_000)))
"""The largest has a group to itself: idle queues cost the broker something too, while others have their slice."""

_AWAKE: Final = 1.2
"""Seconds of a slice that don't count: workers that were halted first see to their timers and each other's life."""
_SLICE: Final = 4.0
_LEFT: Final = 0.15
"""The part of a backlog at which nothing more is measured: some queues are empty then."""


class _Runner(NamedTuple):
    """One backlog, and who works on it."""

    system: System
    tenants: int
    fleet: Fleet
    stamps: Stamps


def run(bench: Bench) -> None:
    """Measure all groups of which taketurns is a part."""
    for group in _GROUPS:
        kinds = bench.chosen()
        cases = [(kind, count) for kind, count in group if kind in kinds and bench.has_room(kind, count)]
        if len(cases) > 1:
            _measure(bench, cases)


def _measure(bench: Bench, cases: Sequence[tuple[type[System], int]]) -> None:
    tasks = bench.profile.pace_tasks
    with ExitStack() as stack:
        runners = [_begin(bench, stack, kind, count, tasks) for kind, count in cases]
        for round_ in range(bench.profile.pace_rounds):
            first = round_ % len(runners)
            rates = {
                (runner.system.key, runner.tenants): _slice(runner)
                for runner in runners[first:] + runners[:first]  # nobody is always first
            }
            for runner in runners:
                _tell(bench, runner, rates)
            if any(len(runner.stamps) > tasks * (1 - _LEFT) for runner in runners):
                say(f"  a backlog is nearly done after {round_ + 1} rounds")
                break


def _begin(bench: Bench, stack: ExitStack, kind: type[System], count: int, tasks: int) -> _Runner:
    """Publish a backlog and start its workers, which halt until their first slice."""
    system = stack.enter_context(bench.place(kind))
    names = tenants(count)
    say(f"  {system.title}: {count} queues are declared and filled")
    system.declare(names)
    name, stamps = system.lab.run(NAME)
    system.load(name, (Task(names[number % count], number % count) for number in range(tasks)))
    fleet = stack.enter_context(system.workers(WORKERS, names))
    stack.enter_context(fleet.halted())
    return _Runner(system, count, fleet, stamps)


def _slice(runner: _Runner) -> float:
    """Let a backlog's workers work for a while, and return how many tasks they ran in a second."""
    with runner.fleet.working():
        time.sleep(_AWAKE)
        before, began = len(runner.stamps), time.time()
        time.sleep(_SLICE)
        after, ended = len(runner.stamps), time.time()
        runner.fleet.check()
    return (after - before) / (ended - began)


def _tell(bench: Bench, runner: _Runner, rates: Mapping[tuple[str, int], float]) -> None:
    me = (runner.system.key, runner.tenants)
    figures = {RATE: rates[me]}
    for name, base in ((OF_FIFO, (Fifo.key, 1)), (OF_ONE, (Turns.key, 1))):
        if base in rates and base != me and runner.system.key == Turns.key:
            figures[name] = rates[me] / rates[base]
    ran = len(runner.stamps)
    bench.add(NAME, runner.system, f"T={runner.tenants}", Outcome(figures, ran, ran))
