"""What several commands print: tables that lose nothing, and JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from taketurns.errors import TaketurnsError

if TYPE_CHECKING:
    from collections.abc import Iterable

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]

_WIDE: Final = 200


def check_may_ask(before: str, *, yes: bool) -> None:
    """Check that somebody is there to be asked, unless nobody needs to be.

    Args:
        before: why one is asked, such as ``what is purged is gone``.
        yes: whether the answer was given beforehand.

    Raises:
        TaketurnsError: nobody is at the standard input.
    """
    if not (yes or sys.stdin.isatty()):
        raise TaketurnsError(f"{before}, and nobody can be asked here: pass --yes")


def print_table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print rows below the columns' names; a cell is shown as it is, whatever brackets it has.

    A Text of rich is shown as that says, such as cut to what has room.
    """
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    _print(table)


def printable(text: str) -> str:
    """Escape what a terminal would obey: text that somebody else has written may hold anything."""
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode()
        for each in text
    )


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print names and what they stand for, a line each."""
    table = Table(box=None, show_header=False)
    for name, value in fields:
        table.add_row(name, Text(str(value)))
    _print(table)


def _print(table: Table) -> None:
    # A file or pipe has no width, and nothing may be cut off there.
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)
