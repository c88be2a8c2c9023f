"""The end of the demo: both rounds side by side, and every promise with what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from taketurns.demo.display import seconds
from taketurns.demo.names import D_RATE, TENANTS
from taketurns.demo.record import percentile
from taketurns.demo.verdict import times_shorter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from taketurns.demo.record import Record
    from taketurns.demo.verdict import Bar


def print_summary(console: Console, one_queue: Record, turns: Record) -> None:
    """Print the waits of both rounds side by side."""
    table = Table(
        title="Waits from the confirmed submission to the start",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("tenant")
    for name in ("tasks", "one queue p50", "p95", "turns p50", "p95", "p50 shorter"):
        table.add_column(name, justify="right")
    for tenant in TENANTS:
        before, now = one_queue.waits(tenant), turns.waits(tenant)
        table.add_row(
            tenant,
            str(len(now)),
            *(seconds(percentile(waits, percent)) for waits in (before, now) for percent in (50, 95)),
            f"{times_shorter(tenant, one_queue, turns):.1f} x",
        )
    console.print(table)
    console.print("D is limited where it has a queue of its own, and waits for its own limit there.")
    for title, record in (("one queue", one_queue), ("tenant queues", turns)):
        shares = ", ".join(
            f"{tenant} {share:.0%}" for tenant, share in record.shares(("A", "B", "C")).items()
        )
        console.print(f"Starts while A, B and C had tasks waiting, through {title}: {shares}")
    starts = turns.starts("D")
    console.print(
        f"D, limited to {D_RATE}, started {(len(starts) - 1) / (starts[-1] - starts[0]):.1f} tasks a second"
    )


def print_bars(console: Console, bars: Sequence[Bar]) -> None:
    """Print a line for each promise."""
    for bar in bars:
        console.print("[green]kept  [/]" if bar.met else "[red bold]MISSED[/]", bar.text, highlight=False)
