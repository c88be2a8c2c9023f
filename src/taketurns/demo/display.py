"""The demo on a terminal, as a live table, and elsewhere, as plain lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from rich.console import Console

    from taketurns.demo.rows import Row


class Board(Protocol):
    """Where a round's rows are shown; ``interval`` is the seconds between two looks at the servers."""

    interval: float

    def show(self, rows: Sequence[Row]) -> None:
        """Show the newest rows."""


def board(console: Console, title: str) -> AbstractContextManager[Board]:
    """Return a table that changes in its place, if the console is a terminal, and else plain lines."""
    return _LiveTable(console, title) if console.is_terminal else _Lines(console, title)


class _LiveTable:
    interval = 0.5

    def __init__(self, console: Console, title: str) -> None:
        self._title = title
        self._live = Live(_table(title, ()), console=console, auto_refresh=False)

    def __enter__(self) -> Board:
        self._live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, rows: Sequence[Row]) -> None:
        self._live.update(_table(self._title, rows), refresh=True)


class _Lines:
    interval = 3.0

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def show(self, rows: Sequence[Row]) -> None:
        lines = [_line(row) for row in rows if row.queued or row.running or row.done]
        if lines:
            self._console.print(f"[{self._title}] {'; '.join(lines)}", markup=False)


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("tenant")
    for name in ("queued", "running", "done", "wait p50", "wait p95"):
        table.add_column(name, justify="right", min_width=8)
    table.add_column("state", min_width=13)
    for name in ("limit", "next token"):
        table.add_column(name, justify="right", min_width=8)
    for row in rows:
        table.add_row(
            row.tenant,
            "?" if row.queued is None else str(row.queued),
            str(row.running),
            str(row.done),
            seconds(row.median),
            seconds(row.p95),
            row.state,
            row.limit or "",
            _next_token(row),
        )
    return table


def _line(row: Row) -> str:
    queued = "?" if row.queued is None else row.queued
    waits = "" if row.median is None else f", waits p50 {seconds(row.median)} p95 {seconds(row.p95)}"
    token = f", next token {_next_token(row)}" if row.limit else ""
    return f"{row.tenant} {row.state}: {queued} queued, {row.running} running, {row.done} done{waits}{token}"


def _next_token(row: Row) -> str:
    if row.next_token is None:
        return ""
    return f"in {seconds(row.next_token)}" if row.next_token > 0 else "now"


def seconds(value: float | None) -> str:
    """Return seconds in a form that suits their size."""
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
