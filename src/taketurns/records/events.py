"""Events of tasks as Redis keeps them, in the task's record and in the tenant's stream. Pure.

An event is a text: what happened, when, and what else is told, as in ``started 1764364364.123 1 w1@host`` or
``progress 1764364364.123 {"done":1}``. It is short since Redis keeps a record in one piece, at half of the memory,
while none of its values is longer than 64 bytes: the name of a worker may have 39.

What is told in one call is one entry of the stream, or a few, so an event's id is made of the entry's:
``<milliseconds>-<250 times the entry's number in that millisecond, and the event's place in it>``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

EVENTS_IN_ENTRY: Final = 250
"""Events of an entry, at most; ``write.lua`` has the same number."""

_PLACES: Final = ["attempt", "worker"]
"""What a start tells, in this order."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def written(kind: str, at: float, data: Mapping[str, Any]) -> str:
    """Return an event as it is stored.

    Args:
        kind: what happened.
        at: when, in seconds since 1970.
        data: what else is told; JSON can write it.
    """
    if not data:
        return f"{kind} {at:.3f}"
    if sorted(data) == _PLACES:
        return f"{kind} {at:.3f} {data['attempt']} {data['worker']}"
    return f"{kind} {at:.3f} {_encode(data)}"


def read(text: str) -> dict[str, Any]:
    """Return an event by its text: ``event``, what happened; ``at``, when; and what else was told.

    Raises:
        ValueError: it is none.
    """
    kind, at, *rest = text.split(" ", 2)
    event: dict[str, Any] = {"event": kind, "at": float(at)}
    if rest and rest[0].startswith("{"):
        event |= json.loads(rest[0])
    elif rest:
        attempt, worker = rest[0].split(" ", 1)
        event |= {"worker": worker, "attempt": int(attempt)}
    return event


def of_record(stored: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the events of a record as it is stored, each with its id, in their order; of progress the last."""
    events = [(name[2:], text) for name, text in stored.items() if name.startswith("e:")]
    if "progress" in stored:
        events.append((stored["progress_id"], stored["progress"]))
    return sorted(events, key=lambda event: place(event[0]))


def of_entry(entry_id: str, told: str) -> list[tuple[str, str, str]]:
    """Return the events of an entry of a tenant's stream: of each its id, its task's id and its text.

    Args:
        entry_id: the entry's id.
        told: the field ``e`` of the entry: a JSON array of tasks' ids and texts, alternating.

    Raises:
        ValueError: it is none.
    """
    milliseconds, number = place(entry_id)
    first = number * EVENTS_IN_ENTRY
    values = json.loads(told)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{told!r} is no list of texts")  # as is a list of an odd number of them
    return [
        (f"{milliseconds}-{first + index}", task_id, text)
        for index, (task_id, text) in enumerate(zip(values[::2], values[1::2], strict=True))
    ]


def entry_of(event_id: str) -> str:
    """Return the id of the entry that holds an event."""
    milliseconds, number = place(event_id)
    return f"{milliseconds}-{number // EVENTS_IN_ENTRY}"


def place(event_id: str) -> tuple[int, int]:
    """Return where an event stands in its stream."""
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number or 0)
