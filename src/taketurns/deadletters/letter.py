"""What a dead letter says: the headers that a message gets when it dies, and loses when it is sent on. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args

from taketurns.delays import without_traces
from taketurns.tenants import is_tenant, tenant_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Cause = Literal[
    "failed", "rejected", "malformed", "unknown_task", "wrong_arguments", "crash_loop", "unroutable"
]
"""Why a message died:

- ``failed``: the task raised an error, or exceeded its hard time limit, and has no retry left;
- ``rejected``: the task raised Celery's ``Reject`` without ``requeue``;
- ``malformed``: it can't be decoded, or is no task message;
- ``unknown_task``: the worker knows no task of this name;
- ``wrong_arguments``: the task's function does not take its arguments;
- ``crash_loop``: each worker, or worker process, that started it died;
- ``unroutable``: it was published for a queue that is no tenant's.
"""

CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)

_PREFIX: Final = "taketurns_dead_"
_REPLAYS: Final = "taketurns_replays"
_TENANT: Final = "taketurns_tenant"

# A message's headers travel in one AMQP frame, of 131,072 bytes by default; these are characters.
_LONGEST_TRACEBACK: Final = 8000
_LONGEST_REASON: Final = 1000
_ROOM: Final = 100_000


@dataclass(frozen=True, slots=True)
class Death:
    """Why and where a message died.

    Attributes:
        cause: the kind of reason.
        reason: the reason in words, such as the error that the task raised.
        traceback: where the task raised it; empty if it did not run.
        attempts: how often it was started by then.
    """

    cause: Cause
    reason: str
    traceback: str = ""
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of the dead-letter queue.

    Attributes:
        id: its name among the dead letters. Should one message die twice, which may be after a crash, there are two.
        tenant: whose task it was; None if that is not known.
        queue: the tenant queue that it came from, or the routing key that led nowhere; empty if not known.
        task: the task's name; None if it has none.
        task_id: the task's id; None if it has none.
        cause: why it died, as one word; None if somebody else put it there.
        reason: why it died, in words.
        traceback: where the task failed; empty if it did not run.
        attempts: how often the task was started: its retries, and one more; 0 if it never was.
        replays: how often it was sent back to its tenant's queue before.
        died_at: when, in ISO 8601; empty if that is not known.
        headers: the original message's headers.
        body: the original message's body; for a task the JSON ``[args, kwargs, options]``.
    """

    id: str
    tenant: str | None
    queue: str
    task: str | None
    task_id: str | None
    cause: Cause | None
    reason: str
    traceback: str
    attempts: int
    replays: int
    died_at: str
    headers: Mapping[str, Any]
    body: str

    @classmethod
    def read(cls, headers: Mapping[str, Any], body: bytes) -> Self:
        """Read a message of the dead-letter queue, whoever put it there."""
        cause, queue = _text(headers, "cause"), _text(headers, "queue")
        named = headers.get(_TENANT)
        task, task_id = headers.get("task"), headers.get("id")
        return cls(
            id=_text(headers, "id") or _digest(headers, body),
            tenant=tenant_of(queue) or (named if is_tenant(named) else None),
            queue=queue,
            task=task if isinstance(task, str) else None,
            task_id=task_id if isinstance(task_id, str) else None,
            cause=cause if cause in CAUSES else None,
            reason=_text(headers, "reason"),
            traceback=_text(headers, "traceback"),
            attempts=_number(headers.get(f"{_PREFIX}attempts")),
            replays=_number(headers.get(_REPLAYS)),
            died_at=_text(headers, "at"),
            headers=original(headers),
            body=body.decode(errors="replace"),
        )


def buried(
    headers: Mapping[str, Any], death: Death, *, letter_id: str, at: str, queue: str, tenant: str | None
) -> dict[str, Any]:
    """Return the headers of a message that goes to the dead-letter queue.

    Args:
        headers: those that it has.
        death: why it goes there.
        letter_id: a name for it among the dead letters.
        at: the time, in ISO 8601.
        queue: the queue that it comes from, or its routing key.
        tenant: whose it is, if that is known.
    """
    notes = {
        "id": letter_id,
        "at": at,
        "queue": queue,
        "cause": death.cause,
        "reason": death.reason[:_LONGEST_REASON],
        "attempts": death.attempts,
    }
    if death.traceback and len(repr(headers)) < _ROOM:
        notes["traceback"] = death.traceback[-_LONGEST_TRACEBACK:]  # its end has the error
    whose = {} if tenant is None else {_TENANT: tenant}
    return {**original(headers), **whose, **{f"{_PREFIX}{name}": value for name, value in notes.items()}}


def original(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers without what was noted when their message died."""
    return {name: value for name, value in headers.items() if not name.startswith(_PREFIX)}


def revived(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers of a dead letter that is to run again: at once, and with all of its retries.

    An ``expires`` that it had is gone: it has passed by now, and somebody wants it to run all the same.
    """
    anew = {"retries": 0, "eta": None, "expires": None} if "task" in headers else {}
    return {**without_traces(original(headers)), **anew, _REPLAYS: _number(headers.get(_REPLAYS)) + 1}


def _text(headers: Mapping[str, Any], name: str) -> str:
    value = headers.get(f"{_PREFIX}{name}")
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _digest(headers: Mapping[str, Any], body: bytes) -> str:
    """Name a message that has no name of ours, the same way each time."""
    text = json.dumps(headers, sort_keys=True, default=str)
    return hashlib.sha256(text.encode() + body).hexdigest()[:32]
