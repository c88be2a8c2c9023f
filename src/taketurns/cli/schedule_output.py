"""How the commands about schedules show them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from taketurns.cli.output import print_fields, print_table, printable
from taketurns.cli.tenant_output import moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taketurns.schedules import Schedule


def print_schedules(schedules: Iterable[Schedule]) -> None:
    """Print schedules, a line each."""
    columns = ("tenant", "name", "task", "when", "next due (UTC)", "last due (UTC)", "outcome")
    print_table(columns, map(_row, schedules))


def print_schedule(schedule: Schedule) -> None:
    """Print all that people want to know of a schedule."""
    print_fields(
        [
            ("schedule", f"{schedule.tenant}/{schedule.name}"),
            ("task", printable(schedule.task)),
            ("args", printable(json.dumps(schedule.args, ensure_ascii=False))),
            ("kwargs", printable(json.dumps(schedule.kwargs, ensure_ascii=False))),
            ("when", _when(schedule)),
            ("time zone", schedule.timezone or ("the app's" if schedule.cron else "none")),
            ("missed runs", schedule.missed),
            ("priority", schedule.priority or "the task's"),
            (
                "expires",
                "as the task says" if schedule.expires is None else f"{schedule.expires:g} s after it",
            ),
            ("created", moment(schedule.created_at)),
            ("next due", _next(schedule)),
            ("last due", _moment(schedule.last_due_at)),
            ("its task", schedule.last_task_id or "none"),
            ("its outcome", schedule.last_outcome or "none"),
            ("error", printable(schedule.last_error or "none")),
            ("last missed", _moment(schedule.missed_at)),
        ]
    )


def warn_without_beat(beat: str | None) -> None:
    """Say if nobody submits anything."""
    if beat is None:
        typer.echo("No beat runs, so nothing is submitted; start one: celery -A APP beat", err=True)


def _row(schedule: Schedule) -> tuple[str, ...]:
    return (
        schedule.tenant,
        schedule.name,
        printable(schedule.task),
        _when(schedule),
        _next(schedule),
        _moment(schedule.last_due_at),
        schedule.last_outcome or "",
    )


def _when(schedule: Schedule) -> str:
    if schedule.every is not None:
        return f"every {schedule.every}"
    return f"{schedule.cron}{'' if schedule.timezone is None else f' {schedule.timezone}'}"


def _next(schedule: Schedule) -> str:
    return "paused" if schedule.next_due_at is None else moment(schedule.next_due_at)


def _moment(seconds: float | None) -> str:
    return "never" if seconds is None else moment(seconds)
