"""What the task records cost: no-op tasks with them and without them, wave after wave, on the same workers.

While a wave is published the workers are halted, so that all of it is there when they begin. The waves of a pair
follow each other, each kind first in turn, and what counts is the median of the ratios: a machine that becomes slower
meanwhile does so for both.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.apps import turns
from benchmarks.bench import WORKERS, Outcome, tenants, watch
from benchmarks.loader import Task
from support.progress import say

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.fleet import Fleet
    from benchmarks.systems import Turns

NAME: Final = "records"
KEPT: Final = "rate with records, of that without"
_TENANTS: Final = (1, 1000)
CASES: Final = tuple(f"T={count}" for count in _TENANTS)
_FROM, _TO = 0.15, 0.85  # of a wave's tasks; the others start or end it


class _Wave(NamedTuple):
    """What a wave came to: tasks a second, and microseconds of a task in the main processes and in Redis."""

    rate: float
    main: float
    redis: float


def run(bench: Bench) -> None:
    """Measure taketurns."""
    if bench.measures_turns:
        for count, case in zip(_TENANTS, CASES, strict=True):
            with bench.turns() as system:
                bench.add(NAME, system, case, _measure(bench, system, count))


def _measure(bench: Bench, system: Turns, count: int) -> Outcome:
    names = tenants(count)
    say(f"  {system.title}: {count} tenants, {bench.profile.record_rounds} pairs of waves")
    system.declare(names)
    waves: dict[str, list[_Wave]] = {turns.TASK: [], turns.UNRECORDED: []}
    with system.workers(WORKERS, names) as fleet:
        for round_ in range(-1, bench.profile.record_rounds):  # the first pair makes all acquainted
            for task in list(waves) if round_ % 2 else reversed(waves):
                wave = _wave(bench, system, fleet, names, task)
                if round_ >= 0:
                    waves[task].append(wave)
    pairs = list(zip(*waves.values(), strict=True))
    figures = {
        KEPT: statistics.median(with_.rate / without.rate for with_, without in pairs),
        "tasks/s with": statistics.median(wave.rate for wave in waves[turns.TASK]),
        "tasks/s without": statistics.median(wave.rate for wave in waves[turns.UNRECORDED]),
        "main CPU us/task more": statistics.median(with_.main - without.main for with_, without in pairs),
        "Redis CPU us/task more": statistics.median(with_.redis - without.redis for with_, without in pairs),
    }
    done = 2 * len(pairs) * bench.profile.record_tasks
    return Outcome(figures, done, done)


def _wave(bench: Bench, system: Turns, fleet: Fleet, names: list[str], task: str) -> _Wave:
    size = bench.profile.record_tasks
    run, stamps = system.lab.run(NAME)
    with fleet.halted():
        system.load(run, (Task(names[number % len(names)], number) for number in range(size)), name=task)
        redis, main = _redis_cpu(system), fleet.cpu()
    samples = watch(stamps, fleet, size, bench.profile.limit * 4)
    if samples[-1].done < size:
        raise TimeoutError(f"{samples[-1].done} of {size} tasks ran within {bench.profile.limit * 4:g} s")
    starts = [stamp.started for stamp in stamps.read()]
    first, last = int(size * _FROM), int(size * _TO)
    return _Wave(
        (last - first) / (starts[last] - starts[first]),
        (fleet.cpu() - main) / size * 1e6,
        (_redis_cpu(system) - redis) / size * 1e6,
    )


def _redis_cpu(system: Turns) -> float:
    """Return the CPU seconds that Redis has used."""
    used = system.turns.store.call(lambda redis: redis.info("cpu"))
    return float(used["used_cpu_user"] + used["used_cpu_sys"])
