"""``taketurns tasks``: what becomes of a tenant's tasks, and cancelling them."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from taketurns.cli import tenants_submit
from taketurns.cli.output import Json, Yes, check_may_ask, print_table  # typer reads them
from taketurns.cli.task_output import print_task, task_row
from taketurns.errors import TaketurnsError, TaskNotFound

if TYPE_CHECKING:
    from taketurns.tenant_tasks import Chosen

app = typer.Typer(
    name="tasks",
    help="The tasks of a tenant: submit, list, show, watch, cancel and release them.",
    no_args_is_help=True,
)
app.command("submit", epilog="Example: taketurns -A shop tasks submit acme --file tasks.ndjson")(
    tenants_submit.submit
)

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id, or an owner's.")]
TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="The tasks' ids.")]
States = Annotated[
    list[str] | None, typer.Option("--state", metavar="STATE", help="Those in this state; may be repeated.")
]
OfName = Annotated[str | None, typer.Option("--name", metavar="TASK", help="Those of this task.")]
OfTag = Annotated[str | None, typer.Option("--tag", metavar="TAG", help="Those with this tag.")]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Those submitted at this time or later: in ISO 8601, or how long ago, such as 2h.",
    ),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Those submitted before this time.")]


@app.command("list", epilog="Example: taketurns -A shop tasks list acme --state FAILURE --since 2h")
def list_tasks(
    context: typer.Context,
    tenant: Tenant,
    *,
    states: States = None,
    name: OfName = None,
    tag: OfTag = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 100,
    as_json: Json = False,
) -> None:
    """List tasks of a tenant that have all of this, the latest first."""
    from taketurns.api.results import view_of
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    chosen = _chosen(states, name, tag, since, until)
    with closing(load_turns_once(context.obj)) as turns:
        found = list(turns.tasks.each(tenant, chosen, limit=limit))
    views = [view_of(record, state) for record, state in found]
    if as_json:
        typer.echo(json.dumps([view.model_dump() for view in views]))
    elif views:
        columns = ("id", "task", "state", "submitted (UTC)", "attempts", "progress", "error")
        print_table(columns, map(task_row, views))
    else:
        typer.echo(f"Of {tenant} no such task is remembered.", err=True)


@app.command(epilog="Example: taketurns -A shop tasks show acme 5bd3a4b2-9f5c-4a2f-8f0e-3f0c7f1d6a11")
def show(context: typer.Context, tenant: Tenant, task_id: TaskId, *, as_json: Json = False) -> None:
    """Show what is known of a task: its state, its steps, its result."""
    from taketurns.api.results import state_now
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    with closing(load_turns_once(context.obj)) as turns:
        record = turns.tasks.get(tenant, task_id)
        if record is None:
            raise TaskNotFound(tenant, task_id)
        view = state_now(record, turns)
        steps = [event for _, event in turns.records.history(tenant, task_id)]
    if as_json:
        typer.echo(json.dumps({**view.model_dump(), "steps": steps}))
    else:
        print_task(view, steps)


@app.command(epilog="Example: taketurns -A shop tasks watch acme 5bd3a4b2-9f5c-4a2f-8f0e-3f0c7f1d6a11 --json")
def watch(
    context: typer.Context,
    tenant: Tenant,
    task_id: TaskId,
    *,
    after: Annotated[
        str | None, typer.Option(metavar="EVENT", help="Leave out the events up to the one of this id.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Fail if it has not ended after so long.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each event.")] = False,
) -> None:
    """Show what happened to a task, and what happens, until it has ended. While Redis is away it waits."""
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import
    from taketurns.cli.task_output import event_line
    from taketurns.live.event import checked_id

    checked_id(after, of="--after")
    with closing(load_turns_once(context.obj)) as turns:
        try:
            for event in turns.tasks.follow(tenant, task_id, after=after, timeout=timeout):
                typer.echo(event.json if as_json else event_line(event))
        except TimeoutError as error:
            raise TaketurnsError(str(error)) from None


@app.command(epilog="Example: taketurns -A shop tasks cancel acme --tag batch=7 --yes")
def cancel(
    context: typer.Context,
    tenant: Tenant,
    ids: Ids = None,
    *,
    states: States = None,
    name: OfName = None,
    tag: OfTag = None,
    since: Since = None,
    until: Until = None,
    everything: Annotated[bool, typer.Option("--all", help="All that have not ended.")] = False,
    terminate: Annotated[
        bool, typer.Option("--terminate", help="End those that run too, with their process (prefork).")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Cancel tasks of a tenant: what waits never starts, what runs goes on unless --terminate, without retries."""
    from taketurns.api.views import cancellation_view
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import
    from taketurns.tenant_tasks import Chosen, total

    chosen = _chosen(states, name, tag, since, until)
    if [bool(ids), chosen != Chosen(), everything].count(True) != 1:
        raise typer.BadParameter("give ids, or a filter such as --tag, or --all", ctx=context)
    if not ids:
        check_may_ask("what is cancelled never runs", yes=yes)
    unknown: list[str] = []
    with closing(load_turns_once(context.obj)) as turns:
        if ids:
            done = [turns.tasks.cancel(tenant, ids, terminate=terminate)]
            known = turns.records.of(tenant, ids)
            unknown = [task_id for task_id, record in zip(ids, known, strict=True) if record is None]
        else:
            if not yes:
                typer.confirm(f"Cancel these tasks of {tenant}?", abort=True, err=True)
            done = list(turns.tasks.cancel_all(tenant, chosen, terminate=terminate))
    view = cancellation_view(total(done))
    if as_json:
        typer.echo(view.model_dump_json())
    else:
        typer.echo(f"{view.cancelled} cancelled, {view.terminated} terminated, {view.running} run on.")
        if view.silent:
            typer.echo(f"No answer from {', '.join(view.silent)}: what runs there runs on.", err=True)
    if unknown:
        more = f", nor of {len(unknown) - 1} more of these" if len(unknown) > 1 else ""
        raise TaketurnsError(f"{TaskNotFound(tenant, unknown[0])}{more}")


@app.command(
    epilog="Example: taketurns -A shop tasks release acme 5bd3a4b2-9f5c-4a2f-8f0e-3f0c7f1d6a11 --yes"
)
def release(
    context: typer.Context, tenant: Tenant, task_id: TaskId, *, yes: Yes = False, as_json: Json = False
) -> None:
    """Let go of what waits for a task as if it had succeeded; for tasks that nobody remembers: see the doctor."""
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    check_may_ask("what is let go runs", yes=yes)
    with closing(load_turns_once(context.obj)) as turns:
        if not yes:
            typer.confirm(
                f"Run what waits for task {task_id} of {tenant}, as if that had succeeded?",
                abort=True,
                err=True,
            )
        released = turns.tasks.release(tenant, task_id)
    typer.echo(json.dumps({"released": released}) if as_json else f"{released} let go.")


def _chosen(
    states: list[str] | None, name: str | None, tag: str | None, since: str | None, until: str | None
) -> Chosen:
    from taketurns.deadletters.moments import read_moment
    from taketurns.tenant_tasks import chosen_by

    now = datetime.now(UTC)
    return chosen_by(
        [state.upper() for state in states or ()],
        name=name,
        tag=tag,
        since=read_moment(since, now=now, field="--since"),
        until=read_moment(until, now=now, field="--until"),
    )
