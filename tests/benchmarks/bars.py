"""The bars: what taketurns has to reach, within one run; each is kept, missed, or not measured."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.fleet import CONCURRENCY
from benchmarks.workloads import limits, newcomer, noisy, pace, records, shares, start, throttled, throughput
from taketurns.settings import WorkerSettings

if TYPE_CHECKING:
    from benchmarks.results import Results

# A worker's running tasks, and a hand of as many messages and one turn more.
_HELD: Final = 2 * CONCURRENCY + int(WorkerSettings.model_fields["max_credit"].default)
_COMPARE: Final = {"≥": operator.ge, "≤": operator.le}


@dataclass(frozen=True)
class Bar:
    """One bar on one broker.

    Attributes:
        broker: the broker.
        text: what is judged.
        figure: what came out; None if a part of it was not measured.
        sign: ``≥`` or ``≤``.
        limit: the bar.
    """

    broker: str
    text: str
    figure: float | None
    sign: str
    limit: float

    @property
    def kept(self) -> bool | None:
        """Whether it was kept; None if it was not measured."""
        return None if self.figure is None else _COMPARE[self.sign](self.figure, self.limit)

    @property
    def verdict(self) -> str:
        """The same in words."""
        return {True: "kept", False: "missed", None: "not measured"}[self.kept]


class Judge:
    """Judges the results of taketurns on one broker.

    Args:
        results: what was measured.
        broker: the broker's name.
        version: its version, since some bars are another on RabbitMQ 3.
    """

    def __init__(self, results: Results, broker: str, version: str) -> None:
        self._results = results
        self._broker = broker
        self._old = version.startswith("3.")

    def bars(self) -> list[Bar]:
        """Return all bars."""
        return [*self._throughput(), *self._waits(), *self._limits(), *self._costs()]

    def start_bars(self) -> list[Bar]:
        """Return the bars of a worker's start."""
        return [
            self._bar(
                f"a worker that starts beside 10,000 queues, {case}: {text}",
                self._median(start.NAME, figure, case),
                "≤",
                limit,
            )
            for case in (start.ALONE, start.JOINING)
            for figure, text, limit in (
                (start.FIRST, "first task, s from ready", 5),
                (start.SERVING, "serves its share, s from ready", 15),
                (start.LATE, "its loop late, ms", 50),
            )
        ] + [
            self._bar(
                "a task of a tenant whose two workers are killed waits, s",
                self._median(start.NAME, start.TAKEN, start.LEFT),
                "≤",
                5,
            )
        ]

    def _throughput(self) -> list[Bar]:
        bars = [
            self._bar(text, self._median(pace.NAME, figure, f"T={tenants}"), "≥", limit)
            for text, figure, tenants, limit in (
                ("throughput at T=1, of one FIFO queue's", pace.OF_FIFO, 1, 0.95),
                ("throughput at T=200, of one FIFO queue's", pace.OF_FIFO, 200, 0.8),
                ("throughput at T=1,000, of that at T=1", pace.OF_ONE, 1000, 0.9),
                ("throughput at T=10,000, of that at T=1", pace.OF_ONE, 10_000, 0.75 if self._old else 0.9),
            )
        ]
        if self._old:
            recipe = self._rate("recipe", 1000)
            times = _ratio(self._rate("turns", 1000), recipe)
            bars.append(self._bar("throughput at T=1,000, times the plain recipe's", times, "≥", 5))
        return bars

    def _waits(self) -> list[Bar]:
        beside = self._median(newcomer.NAME, "from slot p99 ms", "idle queue, T=1000")
        idle = self._median(newcomer.NAME, "p99 ms", "idle queue, T=0")
        noise = self._median(noisy.NAME, "p99 ms", noisy.BESIDE)
        quiet = self._median(noisy.NAME, "p99 ms", noisy.ALONE)
        added = None if noise is None or quiet is None else noise - quiet
        return [
            self._bar(
                "newcomer beside T=1,000, p99 from the next slot freed, times that on an idle system",
                _ratio(beside, idle),
                "≤",
                2,
            ),
            self._bar(
                "what a neighbour of 30,000 tasks adds to quiet tenants' p99, in tasks of the neighbour",
                _ratio(added, noisy.NEIGHBOUR_SECONDS * 1000),
                "≤",
                1.25,
            ),
            self._bar(
                "largest error of a share, in units of 3 % or one task",
                self._median(shares.NAME, "largest error in bars"),
                "≤",
                1,
            ),
        ]

    def _limits(self) -> list[Bar]:
        alone = self._median(throttled.NAME, throttled.USED, throttled.ALONE)
        cases = [case for case in self._results.cases(throttled.NAME) if case != throttled.ALONE]
        case = cases[0] if cases else None
        beside = self._median(throttled.NAME, throttled.USED, case)
        late = self._median(throttled.NAME, throttled.LATE, case)
        return [
            self._bar("tokens used, % of those allowed", self._median(limits.NAME, "tokens used %"), "≥", 99),
            self._bar("over-admissions", self._median(limits.NAME, "over-admissions"), "≤", 0),
            self._bar("deliveries a task, limited", self._median(limits.NAME, "deliveries/task"), "≤", 1.05),
            self._bar(
                "ten free tenants' throughput beside throttled ones, of that alone",
                _ratio(beside, alone),
                "≥",
                0.95,
            ),
            self._bar("workers' loops late beside throttled tenants, ms", late, "≤", 50),
        ]

    def _costs(self) -> list[Bar]:
        sampled = f"T={throughput.SAMPLED}"
        cpu = [self._median(throughput.NAME, throughput.CPU, f"T={tenants}") for tenants in (10_000, 1)]
        return [
            *(
                self._bar(
                    f"unacknowledged messages a worker at {case}, {whose}",
                    self._median(throughput.NAME, figure, case),
                    "≤",
                    _HELD,
                )
                for case in (sampled, "T=10000")
                for figure, whose in (
                    (throughput.HELD, "by the broker"),
                    (throughput.OWN, "by its own count"),
                )
            ),
            *(
                self._bar(
                    f"throughput with task records at {case}, of that without",
                    self._median(records.NAME, records.KEPT, case),
                    "≥",
                    0.85,
                )
                for case in records.CASES
            ),
            self._bar("main process, CPU a task at T=10,000, times that at T=1", _ratio(*cpu), "≤", 1.3),
        ]

    def _bar(self, text: str, figure: float | None, sign: str, limit: float) -> Bar:
        return Bar(self._broker, text, figure, sign, limit)

    def _rate(self, system: str, tenants: int) -> float | None:
        return self._median(throughput.NAME, throughput.RATE, f"T={tenants}", system=system)

    def _median(
        self, workload: str, figure: str, case: str | None = None, *, system: str = "turns"
    ) -> float | None:
        return self._results.median(workload, figure, broker=self._broker, system=system, case=case)


def _ratio(figure: float | None, base: float | None) -> float | None:
    return figure / base if figure is not None and base else None
