"""``taketurns adopt``: what waits in an old queue goes into the queues of its tenants."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Final

import typer

from taketurns.cli.interrupts import quiet_interrupt
from taketurns.cli.migration_output import NOTHING_MOVED, print_counts, tasks
from taketurns.cli.output import Json, print_table, printable
from taketurns.cli.progress import watched

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.migration.adoption import Adopted
    from taketurns.migration.belonging import Reason

_WORDS: Final[Mapping[Reason, str]] = {
    "undecodable": "it is no JSON task message",
    "unknown_task": "the app knows no such task",
    "ordinary_task": "it is no tenant's task",
    "no_tenant": "nothing tells its tenant",
    "resolver_failed": "the resolver failed",
    "outside_canary": "its tenant is outside of the canary",
}


def adopt(
    context: typer.Context,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The old queue, such as celery.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Move nothing; say what would go where.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Move what waits in an old queue into the queues of its tenants, as the app's tenant_resolver tells them.

    It goes once through what waits there when it begins. What belongs to no tenant is in its old place again at the
    end, and told with the reason. A task is taken away only when its tenant's queue has it: Ctrl-C loses nothing, and
    after a kill one task may run twice.
    """
    with quiet_interrupt(NOTHING_MOVED):
        from taketurns.cli.application import load_turns_once  # Celery takes its time to import
        from taketurns.migration.adoption import adopt as adopt_queue

        turns = load_turns_once(context.obj)
    with closing(turns), watched("looked at" if dry_run else "moved", tasks) as progress:
        adopted = adopt_queue(turns, queue, dry_run=dry_run, progress=progress)
    if as_json:
        typer.echo(json.dumps(_as_dict(adopted)))
    else:
        _print(adopted, would="would be " if dry_run else "")


def _as_dict(adopted: Adopted) -> dict[str, object]:
    return {
        "moved": adopted.moved.total(),
        "tenants": dict(sorted(adopted.moved.items())),
        "stayed": [
            {
                "reason": reason,
                "task": task,
                "count": count,
                "details": adopted.details.get((reason, task), ""),
            }
            for (reason, task), count in adopted.stayed.most_common()
        ],
    }


def _print(adopted: Adopted, *, would: str) -> None:
    print_counts(**{f"{would}moved".strip(): adopted.moved})
    if adopted.stayed:
        rows = (
            (printable(task), count, _why(reason, adopted.details.get((reason, task), "")))
            for (reason, task), count in adopted.stayed.most_common()
        )
        print_table(("task", f"{would}left", "why"), rows)
    typer.echo(f"{tasks(adopted.moved.total())} {would}moved, {adopted.stayed.total()} left.")


def _why(reason: Reason, details: str) -> str:
    return f"{_WORDS[reason]}: {printable(details)}" if details else _WORDS[reason]
