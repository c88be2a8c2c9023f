"""A task that is checked and ready to be submitted with others. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from celery.utils import uuid
from kombu.exceptions import EncodeError
from kombu.utils.json import dumps

from taketurns.arguments import misfit
from taketurns.dependencies.waiting import checked_parents
from taketurns.errors import InvalidInput
from taketurns.idempotency import checked_key, fingerprint
from taketurns.options import checked_id, due_at, expires_at, priority_of
from taketurns.records.recorder import TAGS_HEADER, checked_task_tags
from taketurns.retries import OPTIONS as RETRY_OPTIONS
from taketurns.retries import RETRY_HEADER, RetryOptions
from taketurns.time_limits import check_time_limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from celery import Celery

    from taketurns.dependencies.waiting import Blocked
    from taketurns.task import TenantTask

OPTIONS: Final = frozenset(
    {
        "task_id",
        "priority",
        "countdown",
        "eta",
        "expires",
        "time_limit",
        "soft_time_limit",
        "tags",
        "depends_on",
        "idempotency_key",
        "shadow",
        *RETRY_OPTIONS,
    }
)
"""What may be said of each task; it means what it means to ``apply_async``."""


@dataclass(slots=True)
class Ready:
    """A task that is ready to be submitted.

    Attributes:
        task: the task.
        task_id: its id.
        args: its positional arguments.
        kwargs: its keyword arguments.
        given: the options as they were given.
        headers: its message's headers of ours.
        priority: its priority.
        due: when it is to start at the earliest, if not at once.
        expires: when it is too late, if ever.
        tags: its tags.
        key: its idempotency key.
        fingerprint: what its key is for.
        parents: the tasks that it depends on.
        blocked: how it waits for them; None: it waits for none.
    """

    task: TenantTask
    task_id: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    given: Mapping[str, Any]
    headers: dict[str, Any]
    priority: int
    due: datetime | None
    expires: datetime | None
    tags: list[str] = field(default_factory=list)
    key: str | None = None
    fingerprint: str = ""
    parents: list[str] = field(default_factory=list)
    blocked: Blocked | None = None


def checked(
    app: Celery, task: TenantTask, args: Sequence[Any], kwargs: Mapping[str, Any], given: Mapping[str, Any]
) -> Ready:
    """Return a submission that was checked, but for its arguments."""
    if not isinstance(args, list | tuple):
        raise InvalidInput(args, "a list or tuple", field="args")
    if not isinstance(kwargs, dict):
        raise InvalidInput(kwargs, "a dictionary", field="kwargs")
    options = dict(given)
    check_time_limits(options)
    headers: dict[str, Any] = {}
    if asked := RetryOptions.taken_from(options).header():
        headers[RETRY_HEADER] = asked
    if tags := checked_task_tags(options.get("tags")):
        headers[TAGS_HEADER] = tags
    priority, expires, key = options.get("priority"), options.get("expires"), options.get("idempotency_key")
    headers["ignore_result"] = task.ignore_result
    return Ready(
        task,
        uuid() if options.get("task_id") is None else checked_id(options["task_id"]),
        args,
        kwargs,
        given,
        headers,
        priority_of(task.priority if priority is None else priority),
        due_at(app, options.get("countdown"), options.get("eta")),
        expires_at(app, task.expires if expires is None else expires),
        tags,
        checked_key(key),
        "" if key is None else fingerprint(task.name, args, kwargs),
        checked_parents(options.get("depends_on")),
    )


def check_arguments(ready: Ready) -> None:
    """Check that the arguments fit the task, and that a message can carry them."""
    if ready.task.takes_models:
        return  # that is checked where they are dumped
    if (why := misfit(ready.task, ready.args, ready.kwargs)) is not None:
        raise InvalidInput(ready.args, f"what the task takes ({why})", field="args")
    try:
        dumps((ready.args, ready.kwargs))
    except (EncodeError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(ready.args, f"what JSON can carry ({error})", field="args") from None
