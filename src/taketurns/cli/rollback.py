"""``taketurns rollback``: the backlogs of tenant queues go back into the old queue."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from taketurns.cli.interrupts import quiet_interrupt
from taketurns.cli.migration_output import NOTHING_MOVED, print_counts, tasks
from taketurns.cli.output import Json  # noqa: TC001  # typer reads it
from taketurns.cli.progress import watched
from taketurns.errors import TaketurnsError
from taketurns.tenants import some_of

if TYPE_CHECKING:
    from taketurns.migration.rollback import Backlog, RolledBack


def rollback(
    context: typer.Context,
    *,
    queue: Annotated[
        str | None,
        typer.Option(
            metavar="QUEUE",
            help="The old queue; by default where task_routes lead each task, else the app's default queue.",
        ),
    ] = None,
    tenant: Annotated[
        list[str] | None, typer.Option(metavar="TENANT", help="Only this tenant's; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be moved.")] = False,
    as_json: Json = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Move what waits in tenant queues into the old queue, for workers without taketurns, and count it.

    Take the tenants out of the canary first: taketurns canary --percent 0 --tenants none. A task is taken away only
    when the old queue has it: Ctrl-C loses nothing, and after a kill one task may run twice. Delayed tasks are moved
    with Celery's own eta (but not with --tenant); dead letters stay.
    """
    chosen = tenant or None
    if not (yes or dry_run or sys.stdin.isatty()):
        raise TaketurnsError("this moves what waits, and nobody can be asked here: pass --yes, or --dry-run")
    with quiet_interrupt(NOTHING_MOVED):
        from taketurns.cli.application import load_turns_once  # Celery takes its time to import
        from taketurns.migration.rollback import backlog, check_canary, check_exists, roll_back

        turns = load_turns_once(context.obj)
    with closing(turns):
        with quiet_interrupt(NOTHING_MOVED):
            if queue is not None:
                check_exists(turns, queue)
            if dry_run:
                _print_backlog(backlog(turns, chosen), as_json=as_json)
                return
            if not yes:
                check_canary(turns, chosen)
                found = backlog(turns, chosen)
                if found.total:
                    typer.confirm(f"Move {tasks(found.total)} into the old queue?", abort=True)
        with watched("moved", tasks) as progress:
            done = roll_back(turns, queue=queue, tenants=chosen, progress=progress)
    _print_done(done, as_json=as_json)
    _complain(done.left)


def _print_backlog(found: Backlog, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    print_counts(waiting=found.waiting)
    typer.echo(
        f"{tasks(found.total)} would be moved, {found.delayed} of them delayed; workers have {found.held} more."
    )


def _print_done(done: RolledBack, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"moved": done.total, **asdict(done)}))
        return
    print_counts(waiting=done.waiting, delayed=done.delayed)
    typer.echo(f"{tasks(done.total)} moved.")


def _complain(left: Backlog) -> None:
    """Tell what is not done: what workers have is no failure, what goes on arriving is one."""
    if left.held:
        typer.echo(
            f"Workers run or hold {tasks(left.held)}; what comes back when they stop needs another rollback.",
            err=True,
        )
    if left.lost:
        typer.echo(
            f"{tasks(left.lost)} of removed queues wait for a reaper: run `taketurns reaper --once`, and then "
            "this once more.",
            err=True,
        )
    if left.total:
        named = some_of(left.waiting) if left.waiting else "delayed ones"
        raise TaketurnsError(
            f"tasks go on arriving ({left.total} by now: {named}): some publisher does not know of the canary yet; "
            "update or stop it, and do this once more"
        )
