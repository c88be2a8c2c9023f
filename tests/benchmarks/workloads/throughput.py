"""No-op tasks of T backlogged tenants: tasks per second, the main process' CPU, and what is held unacknowledged.

All rates are taken between the first fifth and the last fifth of the tasks, by their time stamps.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.bench import WORKERS, Outcome, Sample, tenants, watch
from benchmarks.broker_view import unacknowledged, unacknowledged_by_channel
from benchmarks.loader import Task
from benchmarks.systems import Turns
from benchmarks.workloads import raw
from support.progress import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from benchmarks.fleet import Fleet
    from benchmarks.lab import Lab
    from benchmarks.profile import Profile
    from benchmarks.stamps import Stamp
    from benchmarks.systems import System

NAME = "throughput"
RATE, CPU, HELD, OWN = "tasks/s", "CPU us/task", "unacknowledged/worker", "held by own count"
_PART = 0.8  # of the tasks; what comes after is not measured
_SKIPPED = 0.25  # of those, while workers start
_HELD_FROM = 1000  # tenants from which on it is looked at what is unacknowledged
_HELD_SAMPLES = 5
SAMPLED = 200
"""Tenants with which it is looked every 100 ms; with more a listing of the queues takes too long for that."""
_STEADY = 2.0  # seconds after which the backlog is a steady one


def run(bench: Bench) -> None:
    """Measure every system at every T, in alternation."""
    profile = bench.profile
    for round_ in range(max(profile.rounds.values(), default=1)):
        for count in profile.tasks:
            if round_ >= profile.rounds.get(count, 1):
                continue
            for kind in bench.chosen():
                if _takes_part(kind.key, count, round_, profile) and bench.has_room(kind, count):
                    with bench.place(kind) as system:
                        bench.add(
                            NAME, system, f"T={count}", _measure(bench, system, count, first=round_ == 0)
                        )


def _takes_part(key: str, count: int, round_: int, profile: Profile) -> bool:
    match key:
        case "fifo":
            return count == 1  # it does not know of tenants
        case "recipe":
            return round_ == 0 and count in profile.recipe_tenants
        case "ranch":
            return round_ == 0 and count in profile.ranch_tenants
        case _:
            return True


def _measure(bench: Bench, system: System, count: int, *, first: bool) -> Outcome:
    names = tenants(count)
    say(f"  {system.title}: {count} queues are declared and filled")
    system.declare(names)
    wanted = bench.profile.ranch_tasks if system.on_redis else bench.profile.tasks[count]
    name, stamps = system.lab.run(NAME)
    of = system.load(name, (Task(names[number % count], number % count) for number in range(wanted)))
    note = "" if of == wanted else f"{of} of {wanted} published"
    if first and count == max(bench.profile.tasks) and isinstance(system, Turns):
        of -= raw.measure(bench, system, names)
    with system.workers(WORKERS, names) as fleet:
        ready = time.time()
        limit = bench.profile.limit
        sampler = _Sampler(system, fleet, ready + _STEADY, unacknowledged)
        look = sampler.look if count == SAMPLED and isinstance(system, Turns) else _nothing
        samples = watch(stamps, fleet, int(of * _PART), limit, look)
        measured = stamps.read()
        held = sampler.figures()
        if count >= _HELD_FROM and not system.on_redis and len(measured) < of * 0.95:
            held = _held(system, fleet)
        if len(measured) >= int(of * _PART):
            watch(stamps, fleet, of, limit)
    figures = _rate(measured, samples, ready, since_ready=system.on_redis)
    return Outcome({**figures, **held}, len(stamps), of, note)


def _rate(stamps: list[Stamp], samples: list[Sample], ready: float, *, since_ready: bool) -> dict[str, float]:
    """Return tasks per second and the main processes' CPU per task.

    Args:
        stamps: what has run by then.
        samples: how far the run was from moment to moment.
        ready: when the workers were all there.
        since_ready: whether to count from then on: celery-ranch first runs a task that chooses for each task, and
            only then the chosen ones, so the pace of these alone says little.
    """
    if len(stamps) < 10:  # no rate comes from so few
        return {RATE: float("nan")}
    begin = ready if since_ready else max(stamps[int(len(stamps) * _SKIPPED)].started, ready)
    part = [stamp.started for stamp in stamps if stamp.started >= begin]
    inside = [sample for sample in samples if sample.time >= begin]
    figures = {RATE: len(part) / (part[-1] - begin) if len(part) > 1 else float("nan")}
    if len(inside) > 1 and inside[-1].done > inside[0].done:
        seconds = inside[-1].cpu - inside[0].cpu
        figures[CPU] = seconds / (inside[-1].done - inside[0].done) * 1e6
    return figures


def _held(system: System, fleet: Fleet) -> dict[str, float]:
    """Look at what the workers hold, in the midst of the backlog."""
    sampler = _Sampler(system, fleet, 0.0, unacknowledged_by_channel)
    for _ in range(_HELD_SAMPLES):
        sampler.look()
    return sampler.figures()


class _Sampler:
    """Looks at what is held unacknowledged, from some moment on, by asking the broker in one way or another."""

    def __init__(self, system: System, fleet: Fleet, begin: float, ask: Callable[[Lab], int]) -> None:
        self._system = system
        self._fleet = fleet
        self._begin = begin
        self._ask = ask
        self._seen: list[int] = []
        self._own: list[float] = []

    def look(self) -> None:
        """Ask the broker, and the workers if they count themselves."""
        if time.time() < self._begin:
            return
        self._seen.append(self._ask(self._system.lab))
        if isinstance(self._system, Turns):
            self._own += [status["running"] + status["hand"] for status in self._system.status(self._fleet)]

    def figures(self) -> dict[str, float]:
        """Return the largest that was seen, for a worker; nothing if nobody looked."""
        figures = {HELD: max(self._seen) / WORKERS} if self._seen else {}
        return {**figures, **({OWN: max(self._own)} if self._own else {})}


def _nothing() -> None:
    """Look at nothing."""
