"""The demo on a terminal, as a live table, and elsewhere, as plain lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from rich import box
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from rich.console import Console, JustifyMethod

    from taketurns.demo.rows import Row


_COLUMNS: Final[Sequence[tuple[str, int, JustifyMethod]]] = (
    ("tenant", 6, "left"),
    ("queued", 6, "right"),
    ("running", 7, "right"),
    ("done", 5, "right"),
    ("wait p50", 8, "right"),
    ("p95", 6, "right"),
    ("state", 9, "left"),
    ("limit", 5, "right"),
    ("next token", 10, "right"),
)


class Board(Protocol):
    """Where a round's rows are shown; ``interval`` is the seconds between two looks at the servers."""

    interval: float

    def show(self, rows: Sequence[Row]) -> None:
        """Show the newest rows."""


def board(console: Console, title: str) -> AbstractContextManager[Board]:
    """Return a table that changes in its place, if the console is a terminal, and else plain lines."""
    return _LiveTable(console, title) if console.is_terminal else _Lines(console, title)


class _LiveTable:
    interval = 1.0

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
    # As wide as a terminal of 80 columns, and as wide all the time.
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for name, width, justify in _COLUMNS:
        table.add_column(name, width=width, justify=justify)
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
