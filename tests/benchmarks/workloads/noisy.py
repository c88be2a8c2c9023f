"""Quiet tenants' tasks, without and beside a neighbour that has submitted 30,000 tasks of 20 ms before."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from benchmarks.bench import WORKERS, Outcome, tenants, watch
from benchmarks.loader import Task
from benchmarks.waits import summary, waits
from support.progress import say

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.systems import System

NAME = "noisy"
ALONE, BESIDE = "alone", "beside the neighbour"
NEIGHBOUR_SECONDS = 0.02
_QUIET = 10
_QUIET_SECONDS = 0.005
_NEIGHBOUR = -1  # its key
_PAUSE = 0.015  # mean seconds between two of the quiet ones' tasks


def run(bench: Bench) -> None:
    """Measure every system, alone and beside the neighbour."""
    for kind in bench.chosen(bench.profile.noisy_systems):
        for case, noisy in ((ALONE, 0), (BESIDE, bench.profile.noisy_tasks)):
            with bench.place(kind) as system:
                bench.add(NAME, system, case, _measure(bench, system, noisy))


def _measure(bench: Bench, system: System, noisy: int) -> Outcome:
    quiet, neighbour = tenants(_QUIET), "neighbour"
    count = bench.profile.quiet_tasks
    say(f"  {system.title}: {count} tasks of {_QUIET} quiet tenants beside {noisy}")
    system.declare([*quiet, neighbour])
    name, stamps = system.lab.run(NAME)
    published = system.load(name, (Task(neighbour, _NEIGHBOUR, NEIGHBOUR_SECONDS) for _ in range(noisy)))
    system.get_acquainted(quiet)
    random.seed(1)
    confirmed: dict[int, float] = {}
    with system.workers(WORKERS, [*quiet, neighbour]) as fleet:
        if noisy:
            watch(stamps, fleet, min(20, published), 20)
        time.sleep(1)
        for number in range(count):
            task = Task(quiet[number % _QUIET], number, _QUIET_SECONDS)
            confirmed[number] = system.submit(name, task)
            time.sleep(random.uniform(0.5, 1.5) * _PAUSE)
        deadline = time.monotonic() + bench.profile.noisy_limit
        while True:
            ran = stamps.read()
            done = sum(stamp.key != _NEIGHBOUR for stamp in ran)
            if done >= count or time.monotonic() > deadline:
                break
            time.sleep(0.5)
    note = "" if published == noisy else f"{published} of the neighbour's {noisy} published"
    return Outcome(summary(waits(confirmed, ran)), done, count, note)
