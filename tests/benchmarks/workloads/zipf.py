"""A backlog of 1,000 tenants of very different sizes, by Zipf's law: when each has got everything done."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from benchmarks.bench import WORKERS, Outcome, tenants, watch
from benchmarks.loader import Task
from benchmarks.results import percentile
from benchmarks.stamps import starts_by_key
from support.progress import say

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.systems import System

NAME = "zipf"
_TENANTS = 1000
_EXPONENT = 1.1
_SECONDS = 0.001


def run(bench: Bench) -> None:
    """Measure every system that gets through with it."""
    for kind in bench.chosen(bench.profile.zipf_systems):
        with bench.place(kind) as system:
            case = f"{_TENANTS} tenants, exponent {_EXPONENT}"
            bench.add(NAME, system, case, _measure(bench, system))


def _measure(bench: Bench, system: System) -> Outcome:
    names = tenants(_TENANTS)
    count = bench.profile.zipf_tasks
    say(f"  {system.title}: {count} tasks of {_TENANTS} tenants by Zipf's law")
    system.declare(names)
    name, stamps = system.lab.run(NAME)
    random.seed(1)
    weights = [(rank + 1) ** -_EXPONENT for rank in range(_TENANTS)]
    keys = random.choices(range(_TENANTS), weights, k=count)
    system.load(name, (Task(names[key], key, _SECONDS) for key in keys))
    with system.workers(WORKERS, names) as fleet:
        watch(stamps, fleet, count, bench.profile.zipf_limit)
        ran = stamps.read()
    sizes = {key: keys.count(key) for key in set(keys)}
    began = ran[0].started if ran else 0.0
    finished = [starts[-1] - began for key, starts in starts_by_key(ran).items() if len(starts) == sizes[key]]
    # A tenant that is not done by the limit is as late as can be told.
    finished += [bench.profile.zipf_limit] * (len(sizes) - len(finished))
    figures = {
        "half of the tenants done s": percentile(finished, 50),
        "nine tenths done s": percentile(finished, 90),
        "tasks/s": len(ran) / (ran[-1].started - began) if len(ran) > 1 else float("nan"),
    }
    return Outcome(figures, len(ran), count)
