"""``taketurns monitor``: all tenants live, the busiest first, below a line about the system."""

import logging
import os
import sys
import threading
import time
from contextlib import closing
from enum import StrEnum
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from taketurns.cli.interrupts import quiet_interrupt
from taketurns.cli.output import print_table
from taketurns.errors import TaketurnsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taketurns.overview import Overview

_REDRAWN_EVERY: Final = 0.5
"""Seconds after which the picture is drawn anew: the terminal may have another size, and the look is older."""


class Order(StrEnum):
    """What the tenants may be sorted by."""

    BUSY = "busy"
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    NAME = "name"


def monitor(
    context: typer.Context,
    *,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, and print what is found.")] = False,
    sort: Annotated[Order, typer.Option(help="What comes first; busy: waiting and running.")] = Order.BUSY,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="So many tenants at most; by default as many as there is room for."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each look, to whatever reads it.")
    ] = False,
) -> None:
    """Show how many tasks of each tenant wait, run and have ended, and how its rate stands; Ctrl-C ends it.

    Servers that are away are named, with the reason, and looked for again. With --once it exits with 1 if one is.
    """
    if not (once or as_json or sys.stdout.isatty()):
        raise TaketurnsError("a live view needs a terminal; say --once to look once, or --json")
    with quiet_interrupt():
        from taketurns.cli.application import load_turns_once  # Celery takes its time to import
        from taketurns.overview import Overseer

        turns = load_turns_once(context.obj)
        overseer = Overseer(turns)
    if not (once or as_json):
        _watch(lambda most: overseer.look(order=sort.value, limit=limit or most), interval)
    show = _print_json if as_json else _print
    with closing(turns), closing(overseer):
        for found in _looks(lambda: overseer.look(order=sort.value, limit=limit), interval):
            show(found)
            if once:
                break
    if away := found.system.away:
        raise TaketurnsError(f"{' and '.join(away)} can't be reached")


def _looks(look: "Callable[[], Overview]", interval: float) -> "Iterator[Overview]":
    """Look again and again. With very many tenants a look is work for RabbitMQ: it has at least as long a rest."""
    while True:
        began = time.monotonic()
        yield look()
        took = time.monotonic() - began
        time.sleep(max(interval - took, took))


def _print_json(found: "Overview") -> None:
    from pydantic import TypeAdapter  # what only some commands need is not imported for all

    from taketurns.overview import Overview

    typer.echo(TypeAdapter(Overview).dump_json(found))


def _print(found: "Overview") -> None:
    from taketurns.cli.monitor_output import COLUMNS, cells, more, system_lines

    for line in system_lines(found, time.time()):
        typer.echo(line.plain)
    if found.tenants:
        print_table(COLUMNS, map(cells, found.tenants))
    for rest in more(found, len(found.tenants)):
        typer.echo(rest)


def _watch(look: "Callable[[int], Overview]", interval: float) -> None:
    """Show what is looked at until Ctrl-C, and end the process."""
    from rich.live import Live

    from taketurns.cli.monitor_output import picture

    logging.getLogger().addHandler(
        logging.NullHandler()
    )  # a line in the middle of the picture would spoil it
    console = Console()
    looks: SimpleQueue[Overview | BaseException] = SimpleQueue()
    threading.Thread(target=_look_again_and_again, args=(look, console, interval, looks), daemon=True).start()
    try:
        with Live(screen=True, auto_refresh=False, console=console) as live:
            found: Overview | None = None
            while True:
                live.update(picture(found, time.time(), console), refresh=True)
                try:
                    latest = looks.get(timeout=_REDRAWN_EVERY)
                except Empty:
                    continue
                if isinstance(latest, BaseException):
                    raise latest
                found = latest
    except KeyboardInterrupt:
        pass
    sys.stdout.flush()
    os._exit(0)  # a look that is under way may wait for a server, and nobody waits for the look any more


def _look_again_and_again(
    look: "Callable[[int], Overview]",
    console: Console,
    interval: float,
    looks: "SimpleQueue[Overview | BaseException]",
) -> None:
    try:
        for found in _looks(lambda: look(console.height), interval):
            looks.put(found)
    except BaseException as error:  # noqa: BLE001  # it is raised where somebody sees it
        looks.put(error)
