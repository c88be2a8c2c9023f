"""How the monitor draws what it has seen."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from taketurns.cli.output import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType

    from taketurns.overview import Overview, TenantStanding

COLUMNS: Final = (
    "tenant",
    "queued",
    "running",
    "done",
    "failed",
    "limit",
    "tokens",
    "next token",
    "state",
)
_NUMBERS: Final = frozenset({"queued", "running", "done", "failed", "tokens", "next token"})
_LESS_NEEDED: Final = ("tokens", "next token", "limit", "done", "failed")
"""Columns that are left out one by one where there is no room for all."""

_STATE: Final = COLUMNS.index("state")
_NAME: Final = 20
"""Cells that a tenant's name has at least, if it needs them."""
_GAP: Final = 2
"""Cells after each column."""

_STYLES: Final = {
    "throttled": "yellow",
    "paused": "magenta",
    "running": "green",
    "no worker": "red",
    "removing": "red",
    "unknown": "dim",
    "idle": "dim",
}
_MINUTE: Final = 60
_HOUR: Final = 3600

_OLD: Final = 5.0
"""Seconds after which it is told how old the picture is."""


def picture(found: Overview | None, now: float, console: Console) -> RenderableType:
    """Return what is to be seen on a terminal.

    Args:
        found: the last look; None: there was none yet.
        now: the time, in seconds since 1970.
        console: the terminal; where it is narrow, some columns are left out.
    """
    if found is None:
        return Text("Looking ...")
    head = system_lines(found, now)
    lines = sum(len(line.wrap(console, console.width)) for line in head)
    shown = found.tenants[: max(1, console.height - lines - 2)]
    rows = [tuple(map(str, cells(each))) for each in shown]
    table = Table(box=None, header_style="bold reverse", padding=(0, _GAP, 0, 0))
    widths = _widths(rows, console.width)
    for place, width in widths.items():
        number = COLUMNS[place] in _NUMBERS
        table.add_column(
            COLUMNS[place],
            justify="right" if number else "left",
            width=width,
            no_wrap=True,
            overflow="ellipsis",
        )
    for each, row in zip(shown, rows, strict=True):
        styles = {_STATE: _STYLES.get(each.state, "")}
        table.add_row(*(Text(row[place], style=styles.get(place, "")) for place in widths))
    return Group(*head, table, *(Text(line, style="dim") for line in more(found, len(shown))))


def more(found: Overview, shown: int) -> list[str]:
    """Return the line that says how many tenants are not shown, if some are not."""
    return [] if found.total is None or found.total <= shown else [f"and {found.total - shown} more"]


def _widths(rows: list[tuple[str, ...]], width: int) -> dict[int, int]:
    """Return how wide each column is, by its place, of those that there is room for; the first has what is left."""
    wanted = [max(map(cell_len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    places = list(range(len(COLUMNS)))
    name = min(wanted[0], _NAME)

    def left() -> int:
        return width - sum(wanted[place] for place in places[1:]) - _GAP * len(places)

    for each in _LESS_NEEDED:
        if left() >= name:
            break
        places.remove(COLUMNS.index(each))
    return {0: max(1, left()), **{place: wanted[place] for place in places[1:]}}


def system_lines(found: Overview, now: float) -> list[Text]:
    """Return the lines about the system: servers and workers, then tasks; and one for each server that is away."""
    system = found.system
    names = {"RabbitMQ": system.broker, "management API": system.management, "Redis": system.redis}
    servers = Text("  ").join(
        Text(f"{name} {server.version}", style="green")
        if server.ok
        else Text(f"{name} away", style="bold red")
        for name, server in names.items()
    )
    at = f"{datetime.fromtimestamp(found.at).astimezone():%H:%M:%S}"
    age = now - found.at
    clock = Text(f"  {at}" + (f", {age:.0f} s ago" if age > _OLD else ""))
    lines = [servers + Text("  ") + Text(_workers(found)) + clock]
    lines.append(Text("  ".join(_numbers(found))))
    lines += [
        Text(printable(f"{name}: {server.message}"), style="red", no_wrap=True, overflow="ellipsis")
        for name, server in names.items()
        if not server.ok
    ]
    return lines


def cells(each: TenantStanding) -> tuple[object, ...]:
    """Return a tenant's row."""
    return (
        each.tenant,
        _number(each.waiting),
        _number(each.running),
        _number(each.completed),
        _number(each.failed),
        each.rate_limit or ("?" if each.completed is None else ""),
        "" if each.tokens is None else f"{each.tokens:.1f}",
        "" if each.next_token_in is None else _seconds(each.next_token_in),
        each.state,
    )


def _workers(found: Overview) -> str:
    workers, silent = found.system.workers, found.system.silent
    if workers is None or silent is None:
        return "workers unknown"
    told = f"{len(workers)} worker{'' if len(workers) == 1 else 's'}"
    return f"{told}, {len(silent)} silent" if silent else told


def _numbers(found: Overview) -> Iterator[str]:
    system = found.system
    for name, number in (
        ("tenants", found.total),
        ("paused", system.paused),
        ("throttled", system.throttled),
        ("queued", system.ready),
        ("held or running", system.unacknowledged),
        ("dead letters", system.dead),
        ("lost", system.lost),
    ):
        yield f"{name} {_number(number)}"


def _number(count: int | None) -> str:
    return "?" if count is None else str(count)


def _seconds(seconds: float) -> str:
    if seconds == 0:
        return "now"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    return f"{seconds / _MINUTE:.0f} min" if seconds < _HOUR else f"{seconds / _HOUR:.1f} h"
