"""``taketurns dead``: see the dead letters, send them back, throw them away."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from taketurns.cli.dead_output import counted, print_letter, print_letters
from taketurns.cli.output import Json  # noqa: TC001  # typer reads it
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
OfTask = Annotated[str | None, typer.Option("--task", metavar="NAME", help="Those of this task.")]
OfCause = Annotated[
    str | None, typer.Option("--cause", metavar="CAUSE", help="Those that died of this, such as failed.")
]
All = Annotated[bool, typer.Option("--all", help="All that there are.")]
Limit = Annotated[int | None, typer.Option(min=1, help="So many at most, the oldest first.")]


@app.command("list", epilog="Example: taketurns -A shop dead list --tenant acme --cause failed")
def list_letters(
    context: typer.Context,
    *,
    tenant: OfTenant = None,
    task: OfTask = None,
    cause: OfCause = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most, the oldest first.")] = 100,
    as_json: Json = False,
) -> None:
    """List dead letters that have all of this, the oldest first."""
    from taketurns.api.views import letter_summary
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import
    from taketurns.deadletters.selection import Selection

    selection = Selection(tenant=tenant, task=task, cause=cause)
    with closing(load_turns_once(context.obj)) as turns:
        found = turns.dead_letters.look(selection, limit=limit, brief=True)
    if as_json:
        typer.echo(json.dumps([letter_summary(each).model_dump() for each in found.letters]))
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
    task: OfTask = None,
    cause: OfCause = None,
    everything: All = False,
    limit: Limit = None,
) -> None:
    """Send dead letters back to their tenants' queues: these, or those that have all of this.

    They run at once and with all of their retries. Ctrl-C stops between two of them.
    """
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    selection = _selection(context, ids, tenant, task, cause, everything=everything)
    with closing(load_turns_once(context.obj)) as turns, watched("replayed", counted) as progress:
        outcome = turns.dead_letters.replay(selection, limit=limit, progress=progress)
    typer.echo(f"{counted(outcome.done)} replayed.")
    _complain(outcome, selection)


@app.command(epilog="Example: taketurns -A shop dead discard --tenant acme --yes")
def discard(
    context: typer.Context,
    ids: Ids = None,
    *,
    tenant: OfTenant = None,
    task: OfTask = None,
    cause: OfCause = None,
    everything: All = False,
    limit: Limit = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Throw dead letters away: these, or those that have all of this. That can't be undone."""
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    selection = _selection(context, ids, tenant, task, cause, everything=everything)
    if not (yes or sys.stdin.isatty()):
        raise TaketurnsError("what is discarded is gone, and nobody can be asked here: pass --yes")
    with closing(load_turns_once(context.obj)) as turns:
        letters = turns.dead_letters
        if not yes:
            limit = len(letters.look(selection, limit=limit, brief=True).letters)
            if limit:
                typer.confirm(f"Discard {counted(limit)}?", abort=True)
        with watched("discarded", counted) as progress:
            outcome = letters.discard(selection, limit=limit, progress=progress)
    typer.echo(f"{counted(outcome.done)} discarded.")
    _complain(outcome, selection)


def _selection(
    context: typer.Context,
    ids: list[str] | None,
    tenant: str | None,
    task: str | None,
    cause: str | None,
    *,
    everything: bool,
) -> Selection:
    from taketurns.deadletters.selection import Selection

    selection = Selection(ids=frozenset(ids) if ids else None, tenant=tenant, task=task, cause=cause)
    if (selection == Selection()) != everything:
        raise typer.BadParameter(
            "name the letters by their ids, by --tenant, --task or --cause, or say --all (and nothing else)",
            ctx=context,
        )
    return selection


def _complain(outcome: Outcome, selection: Selection) -> None:
    """Tell what could not be done; what was asked for by its id and could not is a failure."""
    without_tenant = f"{counted(outcome.without_tenant)} of no known tenant can only be discarded"
    if outcome.missing:
        raise TaketurnsError(f"there is no such dead letter: {', '.join(sorted(outcome.missing))}")
    if outcome.without_tenant and selection.ids is not None:
        raise TaketurnsError(without_tenant)
    if outcome.without_tenant:
        typer.echo(f"{without_tenant}.", err=True)
