"""``taketurns reaper``: remove the queues of idle tenants, and send lost tasks on."""

import json
import logging
import signal
from dataclasses import asdict
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from taketurns.cli.interrupts import quiet_interrupt
from taketurns.cli.output import print_table

if TYPE_CHECKING:
    from taketurns.reaper.service import ServiceReport


def reaper(
    context: typer.Context,
    *,
    once: Annotated[bool, typer.Option("--once", help="Look once instead of again and again.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say which queues would go or stay, and why.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --once or --dry-run: print one JSON object.")
    ] = False,
) -> None:
    """Remove the queues of idle tenants, and send lost tasks on.

    Any number may run: one of them removes queues at a time, and another follows when it ends.
    """
    if as_json and not (once or dry_run):
        raise typer.BadParameter("it goes with --once or --dry-run", param_hint="--json")
    with quiet_interrupt():
        from taketurns.cli.application import load_turns  # Celery takes its time to import
        from taketurns.reaper.service import ReaperService

        service = ReaperService(load_turns(context.obj))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if once or dry_run:
        report = service.run_once(dry_run=dry_run)
        typer.echo(json.dumps(asdict(report))) if as_json else _print(report)
        return
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    service.run_forever(stop)


def _print(report: "ServiceReport") -> None:
    if report.recovered is not None and (report.recovered.recovered or report.recovered.dead):
        typer.echo(f"Lost tasks sent on: {report.recovered.recovered}; to the dead: {report.recovered.dead}.")
    if not report.reaped.active:
        typer.echo("Another reaper is the active one; nothing was looked at.")
        return
    if not report.reaped.decisions:
        typer.echo("There are no tenant queues.")
        return
    print_table(
        ("tenant", "queue", "would" if report.reaped.dry_run else "did", "why"),
        (
            (each.tenant, each.queue, "go" if each.remove else "stay", each.reason)
            for each in report.reaped.decisions
        ),
    )
