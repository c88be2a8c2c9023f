"""The calls of the API that a tenant's program needs, each as a function that describes it. Pure.

Each is a method of [Client][] and of [AsyncClient][], which take the same arguments and return what is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypedDict, TypeVar, Unpack, cast

from taketurns.client import models
from taketurns.client.call import LINES, Call, a, encoded, nothing, part
from taketurns.client.described import described_as
from taketurns.client.submission import Submission, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_PAGE: Final = 1000
"""Tasks that one page can have."""

LARGEST_BATCH: Final = 10_000
"""Tasks that can be submitted together."""

_BATCH, _LETTERS = 120.0, 600.0
"""Seconds that the API may take for 10,000 tasks, and for as many dead letters as there may be."""


class TaskFilter(TypedDict, total=False):
    """Which tasks: those that have all of this. ``since`` is a time, or how long ago (``2h``), as is ``until``."""

    state: models.State | Sequence[models.State]
    name: str
    tag: str
    since: datetime | str
    until: datetime | str


class LetterFilter(TypedDict, total=False):
    """Which dead letters: those that have all of this. ``since`` is a time, or how long ago, as is ``until``."""

    task: str
    task_id: str
    cause: models.Cause
    since: datetime | str
    until: datetime | str


class ScheduleChanges(TypedDict, total=False):
    """What to change of a schedule; None brings a default back."""

    task: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    cron: str | None
    every: str | None
    timezone: str | None
    missed: models.Missed
    paused: bool
    priority: models.Priority | None
    expires: float | None


def submitting(make: Callable[P, Submission]) -> Callable[P, Call[models.TaskAccepted]]:
    """Return the call that submits what a function makes, with the function's own parameters."""

    def submit(*args: P.args, **kwargs: P.kwargs) -> Call[models.TaskAccepted]:
        """Submit a task, and return when the broker has confirmed it. The arguments are those of [Submission][]."""
        submission = make(*args, **kwargs)
        return Call(
            "POST",
            "/tasks",
            a(models.TaskAccepted),
            body=submission.json.encode(),
            is_repeatable=submission.idempotency_key is not None,
        )

    return described_as(make, submit)


submit = submitting(Submission)


def submit_many(submissions: Iterable[Submission]) -> Call[models.BatchAccepted]:
    """Submit 1 to 10,000 tasks together: none if one is not valid (InvalidBatch); each is answered with its id.

    If the broker fails in between, the entries of those that are not accepted have an ``error``.
    """
    chosen = list(submissions)
    return Call(
        "POST",
        "/tasks/batch",
        a(models.BatchAccepted),
        body="".join(f"{each.json}\n" for each in chosen).encode(),
        content_type=LINES,
        is_repeatable=all(each.idempotency_key is not None for each in chosen),
        patience=_BATCH,
    )


def batch_size(size: int) -> int:
    """Return the size of a stream's batches.

    Raises:
        ValueError: there can be none of this size.
    """
    if not 1 <= size <= LARGEST_BATCH:
        raise ValueError(f"size: {size!r} is not valid; accepted is 1 to {LARGEST_BATCH}")
    return size


def task(task_id: str) -> Call[models.TaskState]:
    """Return what became of a task of the caller's."""
    return Call("GET", f"/tasks/{part(task_id, of='task_id')}", a(models.TaskState))


def task_page(
    *, cursor: str | None = None, limit: int = 100, **chosen: Unpack[TaskFilter]
) -> Call[models.TaskPage]:
    """Return some of the caller's tasks, the latest first, and where the next page begins.

    With a filter a page may be short, or empty, and have a ``cursor`` all the same.
    """
    query = _filters(chosen) | {"limit": str(limit)}
    call = Call("GET", "/tasks", a(models.TaskPage), query=query)
    return call if cursor is None else call.asking(cursor=cursor)


def cancel(task_id: str, *, terminate: bool = False) -> Call[models.TaskState]:
    """Cancel a task, and return what is known of it then.

    What waits never starts; what runs goes on unless ``terminate`` is set, and is not tried again. What has ended
    stays as it is.
    """
    path = f"/tasks/{part(task_id, of='task_id')}"
    return Call("DELETE", path, a(models.TaskState), query=_flags(terminate=terminate))


def cancel_all(
    *, everything: bool = False, terminate: bool = False, **chosen: Unpack[TaskFilter]
) -> Call[models.TasksCancelled]:
    """Cancel the caller's tasks that have all of this; at least one filter is needed, or ``everything``."""
    query = _filters(chosen) | _flags(all=everything, terminate=terminate)
    return Call("DELETE", "/tasks", a(models.TasksCancelled), query=query)


def me() -> Call[models.Me]:
    """Return the caller's own limits, what waits in its queue, and when it has its next token."""
    return Call("GET", "/me", a(models.Me))


def stats() -> Call[models.TenantStatistics]:
    """Return how many tasks of the caller's wait, run and have ended, and how long that takes."""
    return Call("GET", "/me/stats", a(models.TenantStatistics))


def schedules() -> Call[models.ScheduleList]:
    """Return the caller's schedules, by name."""
    return Call("GET", "/schedules", a(models.ScheduleList))


def create_schedule(
    name: str,
    task: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    cron: str | None = None,
    every: str | None = None,
    timezone: str | None = None,
    missed: models.Missed = "skip",
    paused: bool = False,
    priority: models.Priority | None = None,
    expires: float | None = None,
) -> Call[models.ScheduleView]:
    """Have a task submitted again and again: by the clock (``cron``), or at an interval (``every="30s"``).

    A run that has not started ``expires`` seconds after its submission expires.
    """
    body = {
        "name": name,
        "task": task,
        "args": list(args),
        "kwargs": dict(kwargs or {}),
        "cron": cron,
        "every": every,
        "timezone": timezone,
        "missed": missed,
        "paused": paused,
        "priority": priority,
        "expires": expires,
    }
    return Call("POST", "/schedules", a(models.ScheduleView), body=encoded(body), is_repeatable=False)


def schedule(name: str) -> Call[models.ScheduleView]:
    """Return a schedule of the caller's."""
    return Call("GET", _schedule(name), a(models.ScheduleView))


def change_schedule(name: str, **changes: Unpack[ScheduleChanges]) -> Call[models.ScheduleView]:
    """Change what is given of a schedule, and nothing else."""
    return Call(
        "PATCH", _schedule(name), a(models.ScheduleView), body=encoded({**changes}), is_repeatable=False
    )


def remove_schedule(name: str) -> Call[None]:
    """Remove a schedule. The tasks that it has submitted run."""
    return Call("DELETE", _schedule(name), nothing, is_repeatable=False)


def dead_letters(*, limit: int = 100, **chosen: Unpack[LetterFilter]) -> Call[models.OwnLetterList]:
    """Return the caller's dead letters, the oldest first; 1,000 at most."""
    query = _filters(chosen) | {"limit": str(limit)}
    return Call("GET", "/me/dead-letters", a(models.OwnLetterList), query=query)


def dead_letter(letter_id: str) -> Call[models.OwnLetterView]:
    """Return a dead letter of the caller's, with the task's arguments."""
    return Call("GET", _letter(letter_id), a(models.OwnLetterView), patience=_LETTERS)


def replay_dead_letter(letter_id: str) -> Call[models.OwnLettersReplayed]:
    """Send a dead letter back to the caller's queue, where it runs at once and with all of its retries."""
    return _changing("POST", f"{_letter(letter_id)}/replay", a(models.OwnLettersReplayed))


def replay_dead_letters(
    *, everything: bool = False, limit: int | None = None, **chosen: Unpack[LetterFilter]
) -> Call[models.OwnLettersReplayed]:
    """Send the dead letters back that have all of this; at least one filter is needed, or ``everything``."""
    body = _filters(chosen) | {"all": everything, "limit": limit}
    path = "/me/dead-letters/replay"
    return Call(
        "POST",
        path,
        a(models.OwnLettersReplayed),
        body=encoded(body),
        is_repeatable=False,
        patience=_LETTERS,
    )


def discard_dead_letter(letter_id: str) -> Call[None]:
    """Throw a dead letter of the caller's away."""
    return _changing("DELETE", _letter(letter_id), nothing)


def discard_dead_letters(
    *, everything: bool = False, limit: int | None = None, **chosen: Unpack[LetterFilter]
) -> Call[models.DeadLettersDiscarded]:
    """Throw the dead letters away that have all of this; at least one filter is needed, or ``everything``."""
    query = _filters(chosen) | _flags(all=everything) | ({} if limit is None else {"limit": str(limit)})
    return _changing("DELETE", "/me/dead-letters", a(models.DeadLettersDiscarded), query)


def task_events(task_id: str) -> Call[None]:
    """Describe the stream of a task's events."""
    return Call("GET", f"/tasks/{part(task_id, of='task_id')}/events", nothing)


def all_events() -> Call[None]:
    """Describe the stream of the events of all of the caller's tasks."""
    return Call("GET", "/events", nothing)


def _changing(
    method: str,
    path: str,
    read: Callable[[bytes], T],
    query: Mapping[str, str | list[str]] | None = None,
) -> Call[T]:
    return Call(method, path, read, query=query or {}, is_repeatable=False, patience=_LETTERS)


def _filters(chosen: TaskFilter | LetterFilter) -> dict[str, Any]:
    """Return filters as the API takes them; None is the same as not given.

    Raises:
        ValueError: a time has no time zone, or a list is empty, which in a query is not given either.
    """
    found: dict[str, Any] = {}
    for name, value in chosen.items():
        if value is None:
            continue
        if name in {"since", "until"}:
            found[name] = moment(cast("datetime | str", value), of=name)
        elif isinstance(value, str):
            found[name] = value
        elif states := list(cast("Sequence[str]", value)):
            found[name] = states
        else:
            raise ValueError(f"{name}: {value!r} is not valid; accepted is at least one, or None for any")
    return found


def _flags(**flags: bool) -> dict[str, Any]:
    return {name: "true" for name, is_set in flags.items() if is_set}


def _schedule(name: str) -> str:
    return f"/schedules/{part(name, of='name')}"


def _letter(letter_id: str) -> str:
    return f"/me/dead-letters/{part(letter_id, of='letter_id')}"
