"""How the commands about dead letters show them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import typer
from rich.text import Text

from taketurns.cli.output import print_fields, print_table, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from taketurns.deadletters.letter import DeadLetter

_COLUMNS: Final = ("id", "tenant", "task", "cause", "reason", "attempts", "replays", "when (UTC)")
_LONGEST_REASON: Final = 200


def print_letters(letters: Sequence[DeadLetter]) -> None:
    """Print a line for each letter; of its reason, as much as has room."""
    print_table(_COLUMNS, map(_row, letters))


def print_letter(letter: DeadLetter) -> None:
    """Print all that is known of a letter."""
    print_fields(
        (name, printable(str(value)))
        for name, value in (
            ("id", letter.id),
            ("tenant", letter.tenant or "unknown"),
            *([("owner", letter.owner)] if letter.owner != letter.tenant else []),
            ("queue", letter.queue or "unknown"),
            ("task", letter.task or "none"),
            ("task id", letter.task_id or "none"),
            ("cause", letter.cause or "somebody else put it there"),
            ("reason", letter.reason),
            ("attempts", letter.attempts),
            ("replays", letter.replays),
            ("when", letter.died_at or "unknown"),
        )
    )
    # As they are, in no table that would break their lines.
    for name, text in _message(letter):
        typer.echo(f"\n{name}:\n{printable(text).rstrip()}")


def counted(number: int) -> str:
    """Return ``1 dead letter``, ``2 dead letters``."""
    return f"{number} dead letter{'' if number == 1 else 's'}"


def _row(letter: DeadLetter) -> tuple[object, ...]:
    reason = printable(" ".join(letter.reason[:_LONGEST_REASON].split()))
    return (
        Text(letter.id, no_wrap=True),
        letter.tenant or "",
        printable(letter.task or ""),
        letter.cause or "",
        Text(reason, no_wrap=True, overflow="ellipsis"),
        letter.attempts,
        letter.replays,
        Text(printable(letter.died_at[:19].replace("T", " ")), no_wrap=True),
    )


def _message(letter: DeadLetter) -> Iterator[tuple[str, str]]:
    """Yield the parts of the original message, and the traceback last, where a reader looks first."""
    try:
        args, kwargs, _ = json.loads(letter.body)
    except (ValueError, TypeError, RecursionError):
        yield f"body ({letter.size} bytes)", letter.body
    else:
        yield "arguments", json.dumps(args, ensure_ascii=False)
        yield "keyword arguments", json.dumps(kwargs, ensure_ascii=False)
    yield "headers", json.dumps(letter.headers, ensure_ascii=False, indent=2)
    if letter.traceback:
        yield "traceback", letter.traceback
