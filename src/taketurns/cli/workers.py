"""``taketurns workers``: who serves the tenants, and what each does now."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import typer

from taketurns.cli.output import Json, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taketurns.worker_list import WorkerInfo

app = typer.Typer(name="workers", help="The workers that serve tenants.", no_args_is_help=True)


@app.callback()
def _several() -> None:  # or typer would make the one command the group itself
    pass


@app.command("list", epilog="Example: taketurns -A shop workers list --json")
def list_all(context: typer.Context, *, as_json: Json = False) -> None:
    """List the workers by name; those that don't answer within a second, and those that were lost, too."""
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    with closing(load_turns_once(context.obj)) as turns:
        found = turns.workers()
    if as_json:
        from taketurns.api.schemas.operations import WorkerList

        typer.echo(WorkerList(workers=found).model_dump_json())
    elif found:
        _print(found)
    else:
        typer.echo("There are no workers that serve tenants.", err=True)


def _print(workers: Sequence[WorkerInfo]) -> None:
    print_table(
        ("worker", "state", "heartbeat", "pid", "running", "hand", "slots", "serves", "tenants that run"),
        (
            (
                each.name,
                each.state,
                "unknown" if each.heartbeat_age is None else f"{each.heartbeat_age:.1f} s ago",
                *(
                    "" if told is None else told
                    for told in (each.pid, each.running, each.hand, each.slots, each.serves)
                ),
                _tenants(each.tenants or {}),
            )
            for each in workers
        ),
    )


def _tenants(running: Mapping[str, int]) -> str:
    return ", ".join(f"{tenant} ({number})" for tenant, number in sorted(running.items()))
