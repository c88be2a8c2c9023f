"""How the commands about tasks show one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from taketurns.cli.output import print_fields, print_table, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from taketurns.api.schemas.tasks import TaskState, TaskView
    from taketurns.live.event import Event


def task_row(view: TaskView) -> tuple[object, ...]:
    """Return a task as a row of a table."""
    return (
        view.task_id,
        view.name or "unknown",
        view.status,
        _moment(view.submitted_at),
        view.attempts,
        _progress(view),
        _error(view),
    )


def print_task(view: TaskState, steps: Iterable[Mapping[str, Any]]) -> None:
    """Print a task with all that is known of it, for people."""
    print_fields(
        [
            ("task", view.task_id),
            ("name", view.name or "unknown"),
            ("tenant", view.tenant),
            ("queue", view.queue),
            ("state", f"{view.status}, cancelled (not tried again)" if view.cancelling else view.status),
            ("priority", view.priority or "unknown"),
            ("tags", ", ".join(map(printable, view.tags)) or "none"),
            ("depends on", ", ".join(map(printable, view.depends_on)) or "nothing"),
            ("due", _moment(view.due_at)),
            ("attempts", view.attempts),
            ("worker", view.worker or ""),
            ("progress", _progress(view)),
            ("error", _error(view)),
            ("result", printable(json.dumps(view.result, ensure_ascii=False))),
        ]
    )
    print_table(
        ("step", "when (UTC)", ""),
        ((step["event"], _moment(step["at"], "milliseconds"), _details(step)) for step in steps),
    )


def event_line(event: Event) -> str:
    """Return an event as a line for people."""
    moment = _moment(event.data["at"], "milliseconds")
    return f"{moment}  {event.kind:<9}  {_details(event.data)}".rstrip()


def _details(step: Mapping[str, Any]) -> str:
    return printable(
        ", ".join(f"{name} {value}" for name, value in step.items() if name not in ("event", "at"))
    )


def _progress(view: TaskView) -> str:
    if view.progress is None:
        return ""
    of = "" if view.progress.total is None else f" of {view.progress.total:g}"
    return printable(f"{view.progress.done:g}{of} {view.progress.note}".strip())


def _error(view: TaskView) -> str:
    return "" if view.error is None else printable(f"{view.error.type}: {view.error.message}")


def _moment(seconds: float | None, precision: str = "seconds") -> str:
    if seconds is None:
        return ""
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return moment.isoformat(sep=" ", timespec=precision)
