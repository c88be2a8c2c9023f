"""``taketurns status``: how the whole system is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from taketurns.cli.output import Json, print_fields, print_table
from taketurns.errors import TaketurnsError

if TYPE_CHECKING:
    from taketurns.status import OldestWait, ServerStatus, SystemStatus

_UNKNOWN = "unknown"


def status(context: typer.Context, *, as_json: Json = False) -> None:
    """Say how servers and workers are doing, and what waits; exit with 1 if a server is away."""
    from pydantic import TypeAdapter  # what only some commands need is not imported for all

    from taketurns.cli.application import load_turns_once  # Celery takes its time to import
    from taketurns.status import SystemStatus

    turns = load_turns_once(context.obj)
    found = turns.status()
    turns.close()
    if as_json:
        typer.echo(TypeAdapter(SystemStatus).dump_json(found))
    else:
        _print(found)
    if found.away:
        raise TaketurnsError(f"{' and '.join(found.away)} can't be reached")


def _print(found: SystemStatus) -> None:
    print_fields(
        [
            *((name, _server(server)) for name, server in found.servers.items()),
            ("tenants", _counted(found.tenants, ("paused", found.paused))),
            ("tenants throttled", _UNKNOWN if found.throttled is None else found.throttled),
            ("tasks waiting", _counted(found.ready, ("queues did not tell", found.uncounted or None))),
            (
                "held or running",
                _counted(found.unacknowledged, ("running by the workers' count", found.running)),
            ),
            ("dead letters", _UNKNOWN if found.dead is None else found.dead),
            ("lost tasks", _UNKNOWN if found.lost is None else found.lost),
            ("oldest wait", _oldest(found)),
        ]
    )
    if found.workers is None or found.silent is None:
        typer.echo("It is unknown which workers live.")
        return
    if not (found.workers or found.silent):
        typer.echo("There are no workers that serve tenants.")
        return
    rows: list[tuple[object, ...]] = [
        (
            each.name,
            each.pid,
            each.running,
            each.hand,
            each.queues,
            each.throttled,
            f"{each.loop_lag * 1000:.0f} ms",
        )
        for each in found.workers
    ]
    rows += [(name, "", "", "", "", "", "no answer") for name in found.silent]
    print_table(("worker", "pid", "running", "hand", "queues", "throttled", "loop late by"), rows)


def _server(server: ServerStatus) -> str:
    return f"{server.version} is up" if server.ok else f"is away: {server.message}"


def _counted(count: int | None, more: tuple[str, int | None]) -> str:
    if count is None:
        return _UNKNOWN
    what, number = more
    return str(count) if number is None else f"{count} ({number} {what})"


def _oldest(found: SystemStatus) -> str:
    wait: OldestWait | None = found.oldest_wait
    if wait is None:
        return "none" if found.ready == 0 else _UNKNOWN
    return f"{'at most ' if wait.at_most else ''}{wait.seconds:.0f} s, of {wait.tenant}"
