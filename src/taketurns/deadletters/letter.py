"""What a dead letter says: the headers that a message gets when it dies, and loses when it is sent on. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args

from taketurns.delays import last_death, without_traces
from taketurns.dependencies.waiting import without_waiting
from taketurns.sending_on import REDELIVERED_HEADER
from taketurns.tenants import TENANT_HEADER, is_tenant, owner_by, tenant_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Cause = Literal[
    "failed",
    "rejected",
    "malformed",
    "unknown_task",
    "wrong_arguments",
    "crash_loop",
    "unroutable",
    "dependency",
]
"""Why a message died:

- ``failed``: the task raised an error, or exceeded its hard time limit, and has no retry left;
- ``rejected``: the task raised Celery's ``Reject`` without ``requeue``;
- ``malformed``: it can't be decoded, or is no task message;
- ``unknown_task``: the worker knows no task of this name;
- ``wrong_arguments``: the task's function does not take its arguments;
- ``crash_loop``: each worker, or worker process, that started it died;
- ``unroutable``: it was published for a queue that is no tenant's;
- ``dependency``: a task that it depends on has not succeeded; it was not run.
"""

CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)

_PREFIX: Final = "taketurns_dead_"
REPLAYS_HEADER: Final = "taketurns_replays"

# A message's headers travel in one AMQP frame, of 131,072 bytes by default; these are characters.
_LONGEST_TRACEBACK: Final = 8000
_LONGEST_REASON: Final = 1000
_ROOM: Final = 100_000

_DEEPEST: Final = 32
"""Levels of tables in tables that are shown of headers."""

_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)


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
        id: its name among the dead letters, of ``A-Z a-z 0-9 -``. Should one message die twice, which may be after a
            crash, there are two. Equal messages that somebody else put there have one.
        tenant: the tenant whose task it was; None if that is not known.
        owner: who submitted it: the tenant, or one of those that share it; None if that is not known.
        queue: the tenant queue that it came from, or the routing key that led nowhere; empty if not known.
        task: the task's name; None if it has none.
        task_id: the task's id; None if it has none.
        cause: why it died, as one word; None if somebody else put it there.
        reason: why it died, in words; RabbitMQ's own if a policy put it there.
        traceback: where the task failed; empty if it did not run.
        attempts: how often the task was started: its retries, and one more; 0 if it never was.
        replays: how often it was sent back to its tenant's queue before.
        died_at: when, in ISO 8601; empty if that is not known.
        size: the bytes of its body.
        headers: the original message's headers as JSON has them: times and whatever else it lacks are text.
        body: the original message's body as text; for a task the JSON ``[args, kwargs, options]``. What is no UTF-8
            is replaced.
    """

    id: str
    tenant: str | None
    owner: str | None
    queue: str
    task: str | None
    task_id: str | None
    cause: Cause | None
    reason: str
    traceback: str
    attempts: int
    replays: int
    died_at: str
    size: int
    headers: Mapping[str, Any]
    body: str

    @classmethod
    def read(cls, headers: Mapping[Any, Any], body: bytes, *, brief: bool = False) -> Self:
        """Read a message of the dead-letter queue, whoever put it there, and whatever is in it.

        Args:
            headers: the message's headers.
            body: its body.
            brief: leave ``traceback``, ``headers`` and ``body`` empty, since they may be large.
        """
        notes = _json(headers)
        cause, named = _text(notes, f"{_PREFIX}cause"), notes.get(TENANT_HEADER)
        by_policy = {} if cause else last_death(notes)
        queue = _text(notes, f"{_PREFIX}queue") or _text(by_policy, "queue")
        letter_id = _text(notes, f"{_PREFIX}id")
        tenant = tenant_of(queue) or (named if is_tenant(named) else None)
        return cls(
            id=letter_id if _ID.fullmatch(letter_id) else _digest(notes, body),
            tenant=tenant,
            owner=owner_by(notes, tenant),
            queue=queue,
            task=_text(notes, "task") or None,
            task_id=_text(notes, "id") or None,
            cause=cause if cause in CAUSES else None,
            reason=_text(notes, f"{_PREFIX}reason") or _text(by_policy, "reason"),
            traceback="" if brief else _text(notes, f"{_PREFIX}traceback"),
            attempts=number_of(notes.get(f"{_PREFIX}attempts")),
            replays=number_of(notes.get(REPLAYS_HEADER)),
            died_at=_text(notes, f"{_PREFIX}at") or _text(by_policy, "time"),
            size=len(body),
            headers={} if brief else original(notes),
            body="" if brief else body.decode(errors="replace"),
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
    whose = {} if tenant is None else {TENANT_HEADER: tenant}
    return {**original(headers), **whose, **{f"{_PREFIX}{name}": value for name, value in notes.items()}}


def is_letter(headers: Mapping[Any, Any]) -> bool:
    """Tell whether a message was a dead letter, and was not sent back by [revived][]."""
    return f"{_PREFIX}id" in headers


def original(headers: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the headers without what was noted when their message died, and of its deliveries before."""
    return {
        name: value
        for name, value in headers.items()
        if not str(name).startswith(_PREFIX) and name != REDELIVERED_HEADER
    }


def revived(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers of a dead letter that is to run again: at once, and with all of its retries.

    An ``expires`` that it had is gone, as it has passed by now, and so is what it depends on, as that has failed:
    somebody wants it to run all the same.
    """
    anew = {"retries": 0, "eta": None, "expires": None} if "task" in headers else {}
    return {
        **without_waiting(without_traces(original(headers))),
        **anew,
        REPLAYS_HEADER: number_of(headers.get(REPLAYS_HEADER)) + 1,
    }


def _text(headers: Mapping[str, Any], name: str) -> str:
    value = headers.get(name)
    return value if isinstance(value, str) else ""


def number_of(value: object) -> int:
    """Return a header's value if it is a whole number above zero, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _digest(headers: Mapping[str, Any], body: bytes) -> str:
    """Name a message that has no name of ours, the same way each time."""
    return hashlib.sha256(json.dumps(headers, sort_keys=True).encode() + body).hexdigest()[:32]


def _json(value: Any, deepest: int = _DEEPEST) -> Any:
    """Return what AMQP has sent as what JSON can say."""
    if deepest == 0:
        return "..."
    match value:
        case dict():
            value = {_json(key): _json(each, deepest - 1) for key, each in value.items()}
        case list():
            value = [_json(each, deepest - 1) for each in value]
        case bytes():
            value = value.decode(errors="replace")
        case str():
            value = value.encode(errors="replace").decode()  # without lone surrogates
        case datetime():
            value = value.replace(tzinfo=UTC).isoformat()
        case Decimal():
            value = str(value)
    return value
