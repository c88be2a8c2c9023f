"""``taketurns dead``: see the dead letters, send them back, throw them away."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from taketurns.cli.dead_output import counted, print_letter, print_letters
from taketurns.cli.output import Json, Yes, check_may_ask  # typer reads them
from taketurns.cli.progress import watched
from taketurns.errors import TaketurnsError

if TYPE_CHECKING:
    from taketurns.deadletters.box import Outcome
    from taketurns.deadletters.selection import Selection

app = typer.Typer(
    name="dead",
    help="Dead letters: tasks that failed for good, or can never run. See, replay, discard them.",
    no_args_is_help=True,
)

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="The letters' ids.")]
OfTenant = Annotated[str | None, typer.Option("--tenant", metavar="TENANT", help="Those of this tenant.")]
OfOwner = Annotated[
    str | None, typer.Option("--owner", metavar="OWNER", help="Those that this owner has submitted.")
]
OfTask = Annotated[str | None, typer.Option("--task", metavar="NAME", help="Those of this task.")]
OfCause = Annotated[
    str | None, typer.Option("--cause", metavar="CAUSE", help="Those that died of this, such as failed.")
]
OfTaskId = Annotated[str | None, typer.Option("--task-id", metavar="ID", help="That of the task of this id.")]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Those that died at this time or later: in ISO 8601, or how long ago, such as 2h.",
    ),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Those that died before this time.")]
All = Annotated[bool, typer.Option("--all", help="All that there are.")]
Limit = Annotated[int | None, typer.Option(min=1, help="So many at most, the oldest first.")]


@app.command("list", epilog="Example: taketurns -A shop dead list --tenant acme --cause failed --since 2h")
def list_letters(
    context: typer.Context,
    *,
    tenant: OfTenant = None,
    owner: OfOwner = None,
    task: OfTask = None,
    task_id: OfTaskId = None,
    cause: OfCause = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most, the oldest first.")] = 100,
    as_json: Json = False,
) -> None:
    """List dead letters that have all of this, the oldest first."""
    from taketurns.api.schemas.letters import DeadLetterList
    from taketurns.api.views import letter_summary
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    selection = _selection(
        tenant=tenant, owner=owner, task=task, task_id=task_id, cause=cause, since=since, until=until
    )
    with closing(load_turns_once(context.obj)) as turns:
        found = turns.dead_letters.look(selection, limit=limit, brief=True)
    if as_json:
        letters = [letter_summary(each) for each in found.letters]
        typer.echo(DeadLetterList(letters=letters, total=found.total).model_dump_json())
        return
    if found.letters:
        print_letters(found.letters)
    if len(found.letters) < found.total:
        typer.echo(f"Listed are {len(found.letters)} of {counted(found.total)}.", err=True)
    elif not found.letters:
        typer.echo("There are no dead letters.", err=True)


@app.command(epilog="Example: taketurns -A shop dead show 0f8b6f5e-6d0f-4d0f-9a53-6a9ad1b8f1c2")
def show(
    context: typer.Context,
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="The letter's id.")],
    *,
    as_json: Json = False,
) -> None:
    """Show a dead letter: why it died, its arguments, its headers, and the traceback."""
    from taketurns.api.views import letter_view
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    with closing(load_turns_once(context.obj)) as turns:
        letter = turns.dead_letters.get(letter_id)
    if letter is None:
        raise TaketurnsError(f"there is no dead letter {letter_id!r}")
    if as_json:
        typer.echo(letter_view(letter).model_dump_json())
    else:
        print_letter(letter)


@app.command(epilog="Example: taketurns -A shop dead replay --task shop.thumbnail --cause failed --limit 100")
def replay(
    context: typer.Context,
    ids: Ids = None,
    *,
    tenant: OfTenant = None,
    owner: OfOwner = None,
    task: OfTask = None,
    task_id: OfTaskId = None,
    cause: OfCause = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Send dead letters back to their tenants' queues: these, or those that have all of this.

    They run at once and with all of their retries. Ctrl-C stops between two of them.
    """
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    selection = _selection(
        ids, tenant=tenant, owner=owner, task=task, task_id=task_id, cause=cause, since=since, until=until
    )
    _check_named(context, selection, everything=everything)
    with closing(load_turns_once(context.obj)) as turns, watched("replayed", counted) as progress:
        outcome = turns.dead_letters.replay(selection, limit=limit, progress=progress)
    _tell("replayed", outcome, selection, as_json=as_json)


@app.command(epilog="Example: taketurns -A shop dead discard --tenant acme --yes")
def discard(
    context: typer.Context,
    ids: Ids = None,
    *,
    tenant: OfTenant = None,
    owner: OfOwner = None,
    task: OfTask = None,
    task_id: OfTaskId = None,
    cause: OfCause = None,
    since: Since = None,
    until: Until = None,
    everything: All = False,
    limit: Limit = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Throw dead letters away: these, or those that have all of this. That can't be undone."""
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    selection = _selection(
        ids, tenant=tenant, owner=owner, task=task, task_id=task_id, cause=cause, since=since, until=until
    )
    _check_named(context, selection, everything=everything)
    check_may_ask("what is discarded is gone", yes=yes)
    with closing(load_turns_once(context.obj)) as turns:
        letters = turns.dead_letters
        if not yes:
            limit = len(letters.look(selection, limit=limit, brief=True).letters)
            if limit:
                typer.confirm(f"Discard {counted(limit)}?", abort=True, err=True)
        with watched("discarded", counted) as progress:
            outcome = letters.discard(selection, limit=limit, progress=progress)
    _tell("discarded", outcome, selection, as_json=as_json)


def _selection(
    ids: list[str] | None = None, *, since: str | None, until: str | None, **filters: str | None
) -> Selection:
    from taketurns.deadletters.moments import read_moment
    from taketurns.deadletters.selection import Selection

    now = datetime.now(UTC)
    return Selection(
        ids=frozenset(ids) if ids else None,
        since=read_moment(since, now=now, field="--since"),
        until=read_moment(until, now=now, field="--until"),
        **filters,
    )


def _check_named(context: typer.Context, selection: Selection, *, everything: bool) -> None:
    """Check that letters are named, or that all are meant."""
    from taketurns.deadletters.selection import Selection

    if (selection == Selection()) != everything:
        raise typer.BadParameter(
            "name the letters by their ids or by a filter such as --tenant, or say --all (and nothing else)",
            ctx=context,
        )


def _tell(done: str, outcome: Outcome, selection: Selection, *, as_json: bool) -> None:
    """Tell what was done, and what could not be; what was asked for by its id and could not is a failure."""
    if as_json:
        left = {} if done == "discarded" else {"without_tenant": outcome.without_tenant}
        typer.echo(json.dumps({done: outcome.done, **left, "missing": sorted(outcome.missing)}))
    else:
        typer.echo(f"{counted(outcome.done)} {done}.")
    without_tenant = f"{counted(outcome.without_tenant)} of no known tenant can only be discarded"
    if outcome.missing:
        raise TaketurnsError(f"there is no such dead letter: {', '.join(sorted(outcome.missing))}")
    if outcome.without_tenant and selection.ids is not None:
        raise TaketurnsError(without_tenant)
    if outcome.without_tenant and not as_json:
        typer.echo(f"{without_tenant}.", err=True)
