"""One broker's part of the benchmark: what every workload has at hand."""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.broker_view import files
from benchmarks.lab import Broker, lab
from benchmarks.results import Cell, Results
from benchmarks.systems import SYSTEMS, System, Turns
from support.progress import say

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from benchmarks.fleet import Fleet
    from benchmarks.profile import Profile
    from benchmarks.stamps import Stamps

WORKERS: Final = 2
_INTERVAL = 0.1
_OTHER_FILES = 1000


class Sample(NamedTuple):
    """How far a run was at one moment."""

    time: float
    done: int
    cpu: float


@dataclass
class Bench:
    """The benchmark on one broker.

    Attributes:
        broker: the servers.
        profile: how much to measure.
        systems: the short names of the systems to compare.
        results: where the cells go.
    """

    broker: Broker
    profile: Profile
    systems: Sequence[str]
    results: Results

    def chosen(self, candidates: Collection[str] = tuple(SYSTEMS)) -> list[type[System]]:
        """Return those of the candidates that are to be compared; all systems are candidates by default."""
        return [SYSTEMS[key] for key in candidates if key in self.systems]

    @property
    def measures_turns(self) -> bool:
        """Whether taketurns is to be measured."""
        return Turns.key in self.systems

    def has_room(self, kind: type[System], count: int) -> bool:
        """Tell whether the broker may open the files of so many backlogged queues; it would go down otherwise."""
        allowed = None if kind.on_redis else files(self.broker)
        needed = int(count * (2.1 if kind.key == "recipe" else 1.5)) + _OTHER_FILES
        if allowed is None or needed <= allowed:
            return True
        say(
            f"  {kind.title}: not measured with T={count}: "
            f"{self.broker.name} needs {needed} files, may open {allowed}"
        )
        return False

    @contextmanager
    def place(self, kind: type[System]) -> Iterator[System]:
        """Lend a system in a lab of its own."""
        with lab(self.broker) as own, kind(own) as system:
            yield system

    @contextmanager
    def turns(self) -> Iterator[Turns]:
        """Lend taketurns in a lab of its own."""
        with lab(self.broker) as own, Turns(own) as system:
            yield system

    @contextmanager
    def fresh_turns(self) -> Iterator[Turns]:
        """Lend taketurns in a lab on a broker that has held nothing before, where the benchmark can start one."""
        fresh = self.broker.fresh
        with fresh() if fresh is not None else nullcontext(self.broker) as broker:
            if fresh is None:
                say(f"  {broker.name} has been in use: its memory is not that of a fresh one")
            with lab(broker) as own, Turns(own) as system:
                yield system

    def add(self, workload: str, system: System, case: str, cell: Outcome) -> None:
        """Keep what came out of a cell, and print it."""
        broker = "Redis" if system.on_redis else self.broker.name
        self.results.cells.append(
            Cell(workload, broker, system.key, case, cell.figures, cell.done, cell.of, cell.note)
        )
        figures = ", ".join(f"{name} {value:,.4g}" for name, value in cell.figures.items())
        counted = "" if cell.done >= cell.of else f" ({cell.done} of {cell.of} tasks)"
        say(f"{workload} {broker} {system.title} {case}: {figures}{counted} {cell.note}".rstrip())


class Outcome(NamedTuple):
    """What came out of a cell; see [Cell][benchmarks.results.Cell]."""

    figures: dict[str, float]
    done: int
    of: int
    note: str = ""


def watch(
    stamps: Stamps,
    fleet: Fleet,
    count: int,
    seconds: float,
    look: Callable[[], object] = lambda: None,
) -> list[Sample]:
    """Wait until so many tasks ran or the time is over; return how far the run was from moment to moment.

    Args:
        stamps: the run's.
        fleet: its workers.
        count: how many tasks to wait for.
        seconds: how long at most.
        look: called every 100 ms.

    Raises:
        WorkersFailed: a worker ended.
    """
    samples: list[Sample] = []
    deadline = time.monotonic() + seconds
    while True:
        samples.append(Sample(time.time(), len(stamps), fleet.cpu()))
        if samples[-1].done >= count or time.monotonic() > deadline:
            return samples
        fleet.check()
        look()
        time.sleep(_INTERVAL)


def tenants(count: int) -> list[str]:
    """Return the names of so many tenants."""
    return [f"t{number}" for number in range(count)]
