"""``taketurns canary``: which tenants have queues of their own by now."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Annotated

import typer

from taketurns.cli.output import Json  # noqa: TC001  # typer reads it

_NONE = "none"


def canary(
    context: typer.Context,
    *,
    percent: Annotated[
        float | None, typer.Option(min=0, max=100, help="How many of the tenants are in.")
    ] = None,
    tenants: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="All who are in besides, such as acme,bolt; or none."),
    ] = None,
    excluded: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="All who are out, whatever else is set; or none."),
    ] = None,
    unset: Annotated[
        bool, typer.Option("--unset", help="Let every process go by its own settings again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """See or set which tenants have queues of their own; the tasks of the others go to the old queue.

    What is set here holds in all processes within a second, and comes before their settings. What is not given stays
    as it is, and so do the tasks that wait: see rollback and adopt.
    """
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import
    from taketurns.migration.canary import read_tenants

    changes = {
        name: read_tenants("" if text == _NONE else text)
        for name, text in (("tenants", tenants), ("excluded", excluded))
        if text is not None
    }
    if unset and (changes or percent is not None):
        raise typer.BadParameter("it goes with no other change", param_hint="--unset")
    with closing(load_turns_once(context.obj)) as turns:
        dial = turns.canary
        if unset:
            now = dial.unset()
        elif changes or percent is not None:
            now = dial.set(percent=percent, **changes)
        else:
            now = dial.read() or dial.configured
    typer.echo(json.dumps(now.as_dict()) if as_json else f"In the canary: {now}.")
