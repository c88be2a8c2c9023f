"""What was measured: cells, and what is read from several of them."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        workload: the name of the workload.
        broker: the broker's name, or ``Redis`` for a system that uses no RabbitMQ.
        system: the system's short name.
        case: what distinguishes it from other cells of the workload, such as ``T=1000``.
        figures: what came out, by name.
        done: tasks that ran.
        of: tasks that were to run.
        note: what a reader must know.
    """

    workload: str
    broker: str
    system: str
    case: str
    figures: Mapping[str, float]
    done: int
    of: int
    note: str = ""

    @property
    def complete(self) -> bool:
        """Whether all tasks ran."""
        return self.done >= self.of


@dataclass
class Results:
    """All cells of one run of the benchmark, and the conditions that they came about under."""

    conditions: dict[str, str] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)

    def select(
        self, workload: str, *, broker: str | None = None, system: str | None = None, case: str | None = None
    ) -> list[Cell]:
        """Return the cells of a workload that have these values, in the order in which they were measured."""
        return [
            cell
            for cell in self.cells
            if cell.workload == workload
            and broker in {None, cell.broker}
            and system in {None, cell.system}
            and case in {None, cell.case}
        ]

    def median(
        self, workload: str, figure: str, *, broker: str, system: str, case: str | None
    ) -> float | None:
        """Return the median of a figure over the rounds, or None if it was not measured."""
        cells = self.select(workload, broker=broker, system=system, case=case)
        values = [
            cell.figures[figure] for cell in cells if not math.isnan(cell.figures.get(figure, math.nan))
        ]
        return statistics.median(values) if values else None

    def cases(self, workload: str) -> list[str]:
        """Return the cases of a workload, in the order in which they were first measured."""
        return list(dict.fromkeys(cell.case for cell in self.select(workload)))

    def brokers(self) -> list[str]:
        """Return the brokers, in the order in which they were first measured."""
        return list(dict.fromkeys(cell.broker for cell in self.cells))

    def write(self, path: Path, bars: Sequence[Mapping[str, object]]) -> None:
        """Write everything to a JSON file."""
        cells = [asdict(cell) for cell in self.cells]
        for cell in cells:  # JSON knows no NaN
            cell["figures"] = {
                name: None if math.isnan(value) else value for name, value in cell["figures"].items()
            }
        document = {"conditions": self.conditions, "bars": list(bars), "cells": cells}
        path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile by the nearest rank, or NaN of nothing."""
    if not values:
        return math.nan
    rank = math.ceil(percent / 100 * len(values))
    return sorted(values)[max(0, rank - 1)]
