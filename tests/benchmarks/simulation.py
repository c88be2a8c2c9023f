"""A fleet of simulated workers, each with a real scheduler: ``python tests/benchmarks/simulation.py``.

All tenants are backlogged, with weights 1, 2 and 4 and tasks of 50 to 750 ms. Prints how far the seconds that each
tenant had are from its share of all slots, once with workers that know only what they ran themselves, and once with
workers that tell each other. No broker, no network, no clock: 10,000 tenants and 100 workers take seconds.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

from taketurns.worker.commands import Fetch, GiveBack, Start
from taketurns.worker.ownership import owners_of_each, ranks
from taketurns.worker.turns import Turns

BACKLOG = 1_000_000

Message = tuple[str, int]


@dataclass(frozen=True)
class Demand:
    """What a simulated tenant has to do."""

    weight: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Options:
    """What is simulated: see ``--help``."""

    tenants: int
    workers: int
    slots: int
    consumers: int
    seconds: float
    interval: float

    @property
    def owners(self) -> int:
        """How many workers own each queue."""
        return owners_of_each(self.tenants, self.workers, self.consumers)


class Outcome(NamedTuple):
    """By how much of its share each tenant was off, sorted, and the part of the slots that was used."""

    errors: list[float]
    used: float


class Fleet:
    """Workers with schedulers, and a broker whose answers take no time."""

    def __init__(self, demands: dict[str, Demand], *, workers: int, slots: int, owners: int) -> None:
        self.demands = demands
        self.slots = slots
        self.now = 0.0
        self.used: dict[str, float] = defaultdict(float)
        self._number = 0
        self._ends: list[tuple[float, int, int, Message]] = []
        self._running = [0] * workers
        names = [f"w{number}" for number in range(workers)]
        self.workers: list[Turns[Message]] = []
        self._owners: dict[str, list[int]] = defaultdict(list)
        for number, name in enumerate(names):
            turns: Turns[Message] = Turns(max_credit=32)
            of_mine = ranks(demands, name, names, owners)
            mine = sorted(of_mine)
            random.shuffle(mine)  # as workers do, or all of them would begin with the same tenant
            for queue in mine:
                turns.add(queue, backlog=BACKLOG)
                turns.set_weight(queue, demands[queue].weight)
                turns.set_rank(queue, of_mine[queue])
                self._owners[queue].append(number)
            self.workers.append(turns)
        for number in range(workers):
            self._act(number)

    def run(self, until: float) -> None:
        """Let tasks end, and others begin, until that time."""
        while self._ends and self._ends[0][0] <= until:
            self.now, _, number, message = heapq.heappop(self._ends)
            self._running[number] -= 1
            self.workers[number].settled(message, self.now)
            self._act(number)
        self.now = until

    def tell_each_other(self) -> None:
        """Have each worker charge its tenants for what they had elsewhere."""
        for number, turns in enumerate(self.workers):
            for queue, used in turns.accounts.take_used().items():
                for other in self._owners[queue]:
                    if other != number:
                        self.workers[other].charge(queue, *used)
        for turns in self.workers:
            turns.accounts.told()

    def _act(self, number: int) -> None:
        turns = self.workers[number]
        while commands := turns.decide(
            slots=self.slots, free=self.slots - self._running[number], now=self.now
        ):
            for command in commands:
                match command:
                    case Fetch(queue, count):
                        for _ in range(count):
                            self._number += 1
                            turns.fetched(queue, (queue, self._number), BACKLOG)
                    case Start(message):
                        self._start(number, message)
                    case GiveBack(message):
                        turns.settled(message, self.now)

    def _start(self, number: int, message: Message) -> None:
        seconds = self.demands[message[0]].seconds * random.uniform(0.5, 1.5)
        self._running[number] += 1
        self.used[message[0]] += seconds
        self._number += 1
        heapq.heappush(self._ends, (self.now + seconds, self._number, number, message))


def errors(fleet: Fleet, before: dict[str, float]) -> list[float]:
    """Return by how much of its share each tenant is off, beyond one task of its own, sorted."""
    used = {queue: fleet.used[queue] - before.get(queue, 0.0) for queue in fleet.demands}
    unit = sum(used.values()) / sum(demand.weight for demand in fleet.demands.values())
    found = []
    for queue, demand in fleet.demands.items():
        off = used[queue] - unit * demand.weight
        found.append(math.copysign(max(0.0, abs(off) - demand.seconds), off) / (unit * demand.weight))
    return sorted(found)


def simulate(options: Options, *, share: bool) -> Outcome:
    """Run one fleet, and judge what comes after the first quarter."""
    random.seed(1)
    demands = {
        f"t{number}": Demand(random.choice([1.0, 2.0, 4.0]), random.choice([0.1, 0.2, 0.5]))
        for number in range(options.tenants)
    }
    fleet = Fleet(demands, workers=options.workers, slots=options.slots, owners=options.owners)
    before: dict[str, float] = {}
    steps = round(options.seconds / options.interval)
    for step in range(steps):
        if step == steps // 4:
            before = dict(fleet.used)
        fleet.run((step + 1) * options.interval)
        if share:
            fleet.tell_each_other()
    seconds = (steps - steps // 4) * options.interval
    used = sum(fleet.used.values()) - sum(before.values())
    return Outcome(errors(fleet, before), used / (seconds * options.workers * options.slots))


def main() -> None:
    """Simulate, without and with shared usage."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument(
        "--consumers", type=int, default=1000, help="a worker keeps this many (default: 1000)"
    )
    parser.add_argument("--seconds", type=float, default=1600.0, help="simulated (default: 1600)")
    parser.add_argument("--interval", type=float, default=0.5, help="between two exchanges (default: 0.5 s)")
    options = Options(**vars(parser.parse_args()))
    for share in (False, True):
        began = time.monotonic()
        found, used = simulate(options, share=share)
        few = len(found) // 100
        print(
            f"{options.tenants} tenants, {options.workers} workers of {options.slots}, {options.owners} owners a "
            f"queue, {'telling each other' if share else 'each for itself'}: error of the shares beyond one task "
            f"from {found[0]:+.1%} to {found[-1]:+.1%}, 1st and 99th percentile {found[few]:+.1%} and "
            f"{found[-few - 1]:+.1%}; slots used {used:.1%} ({time.monotonic() - began:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
