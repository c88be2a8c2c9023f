"""``taketurns tenants purge`` and ``remove``: throw away what waits, and the tenant's queue and settings."""

import json
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from taketurns.cli.output import Json, Yes, check_may_ask
from taketurns.cli.progress import watched
from taketurns.cli.tenant_output import Name, moment

if TYPE_CHECKING:
    from taketurns.purging import Purge


def purge(context: typer.Context, tenant: Name, *, yes: Yes = False, as_json: Json = False) -> None:
    """Throw away the tasks of a tenant that wait, and say how many they were. That can't be undone.

    Their records say that they are cancelled, and what depends on them fails. Those that workers hold and have not
    started go too. Running ones go on, and delayed ones and retries, which wait elsewhere, come when they are due.
    Ctrl-C leaves the rest.
    """
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    check_may_ask("what is purged is gone", yes=yes)
    with closing(load_turns_once(context.obj)) as turns:
        if not yes:
            waiting = turns.stats(tenant).waiting
            typer.confirm(f"Throw away {_tasks(waiting)} of {tenant}?", abort=True, err=True)
        with watched("purged", _tasks) as progress:
            found = turns.purge(tenant, progress=progress)
    typer.echo(json.dumps(asdict(found)) if as_json else _told(found))


def remove(
    context: typer.Context,
    tenant: Name,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Throw away the tasks that wait, without a question.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove a tenant's queue and settings. Nothing happens if tasks wait or run.

    It begins anew with its next task. With --force running tasks are waited for, five seconds by default
    (TAKETURNS_REAPER_CONFIRM_TIMEOUT); delayed ones and retries make a new queue when they are due.
    """
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    with (
        closing(load_turns_once(context.obj)) as turns,
        watched("thrown away", _tasks, rest=lambda: f"and {tenant} is not removed") as progress,
    ):
        thrown_away = turns.remove(tenant, force=force, progress=progress)
    if as_json:
        typer.echo(json.dumps({"tenant": tenant, "removed": True, "thrown_away": thrown_away}))
    else:
        lost = f", with {_tasks(thrown_away)}" if thrown_away else ""
        typer.echo(f"{tenant} is removed{lost}.")


def _told(found: "Purge") -> str:
    said = [f"{found.tenant}: {_tasks(found.purged)} purged."]
    if found.running:
        said.append(f"{found.running} running, and going on.")
    if found.silent:
        said.append(f"Without an answer from {', '.join(found.silent)}, which may hold some more.")
    if found.due_until is not None:
        said.append(f"Delayed ones may come until {moment(found.due_until)}.")
    return " ".join(said)


def _tasks(number: int | None) -> str:
    if number is None:
        return "the tasks"
    return f"{number} waiting task{'' if number == 1 else 's'}"
