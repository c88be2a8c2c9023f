"""How the monitor draws what it has seen."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from taketurns.cli.output import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

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


def picture(found: Overview | None, now: float, height: int) -> RenderableType:
    """Return what is to be seen on a terminal.

    Args:
        found: the last look; None: there was none yet.
        now: the time, in seconds since 1970.
        height: the terminal's lines.
    """
    if found is None:
        return Text("Looking ...")
    head = system_lines(found, now)
    room = max(1, height - len(head) - 2)
    table = Table(box=None, expand=True, header_style="bold reverse", pad_edge=False)
    for name in COLUMNS:
        number = name in _NUMBERS
        table.add_column(
            name, justify="right" if number else "left", no_wrap=True, overflow="ellipsis", ratio=None
        )
    for each in found.tenants[:room]:
        *texts, state = map(str, cells(each))
        table.add_row(*map(Text, texts), Text(state, style=_STYLES.get(each.state, "")))
    parts: list[RenderableType] = [*head, table]
    if found.total is not None and found.total > len(found.tenants[:room]):
        parts.append(Text(f"and {found.total - len(found.tenants[:room])} more", style="dim"))
    return Group(*parts)


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
