"""How the commands about dead letters show them, and how far they are."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import typer
from rich.console import Console
from rich.text import Text

from taketurns.cli.interrupts import INTERRUPTED, interrupted_between
from taketurns.cli.output import print_fields, print_table, printable
from taketurns.errors import TaketurnsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from taketurns.deadletters.box import Step
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


@contextmanager
def watched(done: str) -> Iterator[Callable[[Step], None]]:
    """Lend what a replay or discard reports to: it draws a bar on a terminal, and ends by Ctrl-C between two letters.

    Whatever ends it in the middle is told with the number of letters that were treated.

    Args:
        done: the word for what is done with letters, such as ``replayed``.
    """
    # What only some commands need is not imported for all.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    last: Step | None = None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    try:
        with interrupted_between() as between, bar:
            task = bar.add_task(f"0 {done}", total=None)

            def note(step: Step) -> None:
                nonlocal last
                last = step
                bar.update(task, description=f"{step.done} {done}", total=step.total, completed=step.passed)
                between()

            yield note
    except KeyboardInterrupt:
        treated = counted(last.done if last else 0)
        typer.echo(f"Interrupted: {treated} {done}, the rest is still there.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except TaketurnsError as error:
        if last is None or not last.done:
            raise
        raise TaketurnsError(f"{error} (before that: {counted(last.done)} {done})") from error


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
