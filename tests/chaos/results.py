"""What ``make chaos`` prints and writes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import inf
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from support.progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from chaos.performance import Verdict

_WIDTH = 170
_COLUMNS = {
    "submitted": "submitted",
    "once": "run once",
    "twice": "run twice",
    "lost": "lost",
    "deleted": "deleted by hand",
    "error_ran": "error but ran",
    "hits": "faults that hit",
    "in_flight": "in flight",
    "races": "met a removal",
}


@dataclass(frozen=True)
class Row:
    """One scenario on one broker."""

    name: str
    broker: str
    verdict: Verdict

    @property
    def title(self) -> str:
        """The scenario's name, or what its control run goes without."""
        return f"  without {self.verdict.control}" if self.verdict.control else self.name


def show(rows: Sequence[Row]) -> None:
    """Print the table, and the bars that were missed."""
    if not rows:
        return
    console = Console(width=None if Console().is_terminal else _WIDTH, highlight=False)
    table = Table(title="What became of every task", title_justify="left")
    table.add_column("scenario", no_wrap=True)
    table.add_column("broker")
    for heading in (*_COLUMNS.values(), "back after", "took"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in rows:
        counts = asdict(row.verdict.counts)
        figures = [f"{counts[name]:,}" for name in _COLUMNS]
        table.add_row(
            row.title,
            row.broker,
            *figures,
            _seconds(row.verdict.counts.slowest_return),
            _seconds(row.verdict.seconds),
            _said(row.verdict),
        )
    console.print(table)
    for row in rows:
        for check in row.verdict.missed:
            sign = ">=" if check.at_least else "<="
            console.print(
                f"{row.name} on {row.broker}: {check.what} is {check.figure:g}, the bar is {sign} {check.limit:g}"
            )


def write(rows: Sequence[Row], directory: Path, *, seed: int) -> None:
    """Write all counts and bars to ``results.json``."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "results.json"
    results = [
        {
            "scenario": row.name,
            "broker": row.broker,
            "without": row.verdict.control,
            "seconds": round(row.verdict.seconds, 1),
            "counts": asdict(row.verdict.counts),
            "faults": [
                {"what": fault.name, "began": fault.began, "ended": fault.ended}
                for fault in row.verdict.story.faults
            ],
            "bars": [asdict(check) | {"kept": check.kept} for check in row.verdict.checks],
        }
        for row in rows
    ]
    path.write_text(json.dumps({"seed": seed, "rows": results}, indent=2) + "\n")
    say(f"wrote {path}")


def _said(verdict: Verdict) -> str:
    if verdict.control:
        return "[bold red]loses nothing[/]" if verdict.missed else "[green]loses, as it must[/]"
    return "[bold red]missed[/]" if verdict.missed else "[green]kept[/]"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return "never" if seconds == inf else f"{seconds:.1f} s"
