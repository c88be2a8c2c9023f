"""How far a command is that treats many messages, and Ctrl-C between two of them."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from taketurns.cli.interrupts import INTERRUPTED, interrupted_between
from taketurns.errors import TaketurnsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taketurns.progress import Step


def _still_there() -> str:
    return "the rest is still there"


@contextmanager
def watched(
    done: str,
    counted: Callable[[int], str],
    *,
    rest: Callable[[], str] = _still_there,
    prints: bool = False,
) -> Iterator[Callable[[Step], None]]:
    """Lend what such work reports to: it draws a bar on a terminal, and ends by Ctrl-C between two messages.

    Whatever ends it in the middle is told with the number of messages that were treated. Before the first report
    Ctrl-C acts at once, and is told as well.

    Args:
        done: the word for what is done with them, such as ``replayed``.
        counted: makes ``1 dead letter`` of 1.
        rest: says after Ctrl-C what has become of the others.
        prints: what is done prints lines, which show how far it is: on a terminal there is no bar besides.
    """
    # What only some commands need is not imported for all.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    last: Step | None = None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # it would go where the bar goes
        disable=not sys.stderr.isatty() or (prints and sys.stdout.isatty()),
    )
    task = bar.add_task(f"0 {done}", total=None)
    try:
        with interrupted_between() as between:

            def note(step: Step) -> None:
                nonlocal last
                if last is None:
                    bar.start()
                last = step
                bar.update(task, description=f"{step.done} {done}", total=step.total, completed=step.passed)
                between()

            try:
                yield note
            finally:
                bar.stop()
    except KeyboardInterrupt:
        treated = counted(last.done if last else 0)
        typer.echo(f"Interrupted: {treated} {done}, {rest()}.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except TaketurnsError as error:
        if last is None or not last.done:
            raise
        raise TaketurnsError(f"{error} (before that: {counted(last.done)} {done})") from error
