"""The tables in the terminal."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.systems import SYSTEMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bars import Bar
    from benchmarks.results import Cell, Results

_WIDTH = 120
_FIGURES_ACROSS = 5
_WORDS = 3  # columns of words, before those of figures
_STYLES = {"kept": "green", "missed": "bold red", "not measured": "dim"}


def show(results: Results, bars: Sequence[Bar]) -> None:
    """Print conditions, a table for each workload, and the bars."""
    console = Console(width=None if Console().is_terminal else _WIDTH, highlight=False)
    console.print(_conditions(results))
    for workload in dict.fromkeys(cell.workload for cell in results.cells):
        console.print(_workload(results, workload))
    if bars:
        console.print(_bars(bars))


def _conditions(results: Results) -> Table:
    table = Table(title="Conditions", title_justify="left", show_header=False)
    for name, value in results.conditions.items():
        table.add_row(name, value)
    return table


def _workload(results: Results, workload: str) -> Table:
    """Return the medians of the rounds: a row for each case, broker and system, or a column if there are few."""
    cells = results.select(workload)
    names = list(dict.fromkeys(name for cell in cells for name in cell.figures))
    rows = []
    for case, broker, system in dict.fromkeys((cell.case, cell.broker, cell.system) for cell in cells):
        same = results.select(workload, broker=broker, system=system, case=case)
        figures = [_figure(same, name) for name in names]
        rows.append([case, broker, SYSTEMS[system].title, *figures, _ran(same), str(len(same))])
    headings = ["case", "broker", "system", *names, "ran", "rounds"]
    table = Table(title=workload, title_justify="left", show_header=len(names) <= _FIGURES_ACROSS)
    if len(names) <= _FIGURES_ACROSS:
        for number, heading in enumerate(headings):
            table.add_column(heading, justify="left" if number < _WORDS else "right")
        for row in rows:
            table.add_row(*row)
        return table
    for heading, *values in zip(headings, *rows, strict=True):
        table.add_row(heading, *values)
    return table


def _bars(bars: Sequence[Bar]) -> Table:
    table = Table(title="Bars", title_justify="left")
    for heading in ("", "broker", "what"):
        table.add_column(heading)
    for heading in ("figure", "bar"):
        table.add_column(heading, justify="right", no_wrap=True)
    for bar in bars:
        figure = "" if bar.figure is None else _number(bar.figure)
        style = _STYLES[bar.verdict]
        table.add_row(
            f"[{style}]{bar.verdict}[/]", bar.broker, bar.text, figure, f"{bar.sign} {_number(bar.limit)}"
        )
    return table


def _figure(cells: Sequence[Cell], name: str) -> str:
    values = [
        cell.figures[name] for cell in cells if name in cell.figures and not math.isnan(cell.figures[name])
    ]
    return _number(statistics.median(values)) if values else ""


def _ran(cells: Sequence[Cell]) -> str:
    """Say how many tasks ran, of the round in which the fewest did."""
    least = min(cells, key=lambda cell: cell.done / max(cell.of, 1))
    ran = "all" if least.complete else f"{least.done:,} of {least.of:,}"
    return f"{ran}; {least.note}" if least.note else ran


def _number(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
