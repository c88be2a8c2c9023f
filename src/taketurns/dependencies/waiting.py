"""Where a task waits that depends on others, and what its message says of that. Pure: no I/O.

Each unfinished task that others wait for (their *parent*) has a durable queue for their messages. A message that
waits for several parents is in the queue of one of them, and moves on when that one has succeeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from celery.result import AsyncResult
from kombu import Exchange, Queue

from taketurns.errors import InvalidInput
from taketurns.tenants import is_tenant
from taketurns.texts import is_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXCHANGE: Final = "usersequence.after"
"""The direct exchange of these queues. The default one would do, but who may write there may write everywhere."""

PREFIX: Final = "usersequence.after."
"""What the names of these queues begin with; a tenant, a slash and the parent's id follow."""

DEPENDS_HEADER: Final = "taketurns_depends_on"
"""The header of a blocked message: the parents that are not known to have succeeded."""

COUNTDOWN_HEADER: Final = "taketurns_countdown"
"""The header of a blocked message: the seconds that it is to wait from its release."""

MOST: Final = 100
"""Parents of a task, at most."""

_LONGEST_ID: Final = 100
_ACCEPTED: Final = (
    f"a list of at most {MOST} ids of tasks (or their results), each of 1 to {_LONGEST_ID} bytes"
)


@dataclass(frozen=True, slots=True)
class Blocked:
    """A submission that waits for others.

    Attributes:
        parents: the parents that have not succeeded.
        at: the one in whose queue it waits first.
    """

    parents: tuple[str, ...]
    at: str

    def queue(self, tenant: str) -> Queue:
        """Return where it waits."""
        return after_queue(tenant, self.at)

    def headers(self, countdown: float | None) -> dict[str, Any]:
        """Return what its message says of that."""
        later = {COUNTDOWN_HEADER: float(countdown)} if countdown is not None and countdown > 0 else {}
        return {DEPENDS_HEADER: list(self.parents), **later}


def after_name(tenant: str, parent: str) -> str:
    """Return the name of the queue of those that wait for a task of a tenant."""
    return f"{PREFIX}{tenant}/{parent}"


def after_queue(tenant: str, parent: str) -> Queue:
    """Return this queue as a kombu entity with its binding. Neither it nor what it holds expires."""
    name = after_name(tenant, parent)
    return Queue(
        name,
        exchange=Exchange(EXCHANGE, type="direct", durable=True),
        routing_key=name,
        durable=True,
        queue_arguments={"x-queue-type": "classic"},
    )


def parent_of(queue: str) -> tuple[str, str] | None:
    """Return the tenant and the parent whose queue this is; None: it is no such queue."""
    tenant, slash, parent = queue.removeprefix(PREFIX).partition("/")
    return (tenant, parent) if queue.startswith(PREFIX) and slash and parent and is_tenant(tenant) else None


def checked_parents(given: Any) -> list[str]:
    """Return the ids of the tasks that a submission depends on, each once.

    Raises:
        InvalidInput: they do not have the accepted form.
    """
    if given is None:
        return []
    if not isinstance(given, list | tuple | set | frozenset):
        raise InvalidInput(given, _ACCEPTED, field="depends_on")
    ids = list(dict.fromkeys(each.id if isinstance(each, AsyncResult) else each for each in given))
    for each in ids:
        if not is_text(each, _LONGEST_ID):
            raise InvalidInput(each, _ACCEPTED, field="depends_on")
    if len(ids) > MOST:
        raise InvalidInput(ids, _ACCEPTED, field="depends_on")
    return ids


def checked_parent(given: str) -> str:
    """Return the id of a task that others may wait for.

    Raises:
        InvalidInput: it does not have the accepted form.
    """
    if not is_text(given, _LONGEST_ID):
        raise InvalidInput(given, f"the id of a task, of 1 to {_LONGEST_ID} bytes", field="task_id")
    return given


def nowhere_to_wait(parents: Sequence[str]) -> InvalidInput:
    """Return the error of a submission for a tenant that has no queue of its own."""
    return InvalidInput(
        list(parents), "nothing for a tenant without a queue of its own (canary)", field="depends_on"
    )


def parents_in(headers: Mapping[Any, Any]) -> list[str]:
    """Return the parents that a message names; none if it is not one of ours."""
    named = headers.get(DEPENDS_HEADER)
    return [each for each in named if isinstance(each, str)] if isinstance(named, list) else []


def without_waiting(headers: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a message's headers without what they say of waiting for others."""
    return {name: value for name, value in headers.items() if name not in (DEPENDS_HEADER, COUNTDOWN_HEADER)}
