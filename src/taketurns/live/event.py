"""An event of a task, and where it stands among the others. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

from taketurns.errors import InvalidInput
from taketurns.records.events import of_record, place, read
from taketurns.records.lifecycle import ENDS, FINAL

if TYPE_CHECKING:
    from collections.abc import Mapping

BEGINNING: Final = "0-0"
"""The id that all others come after."""

_ID: Final = re.compile(r"\d{1,19}-\d{1,19}", re.ASCII)


@dataclass(frozen=True)
class Event:
    """Something that happened to a task, or to the stream that tells of it.

    Attributes:
        kind: what: ``queued``, ``started`` and the other steps of a task's life; or ``connected``, ``gap`` and such.
        id: its id, which grows with time for all tasks of a tenant; None: it is one of the stream's own.
        task_id: the task; None: it is about no single one.
        data: what else is told of it: ``at`` in seconds since 1970, and what such an event has.
    """

    kind: str
    id: str | None = None
    task_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, event_id: str, task_id: str, text: str) -> Self:
        """Read an event as it is stored and told.

        Raises:
            ValueError: it is none.
        """
        data = read(text)
        return cls(data.pop("event"), event_id, task_id, data)

    @property
    def is_final(self) -> bool:
        """Whether the task has come to its end by it."""
        return self.kind in ENDS

    @cached_property
    def json(self) -> str:
        """It as JSON, in one line of ASCII."""
        told = {"event": self.kind, "id": self.id, "task_id": self.task_id}
        return json.dumps({**{name: value for name, value in told.items() if value is not None}, **self.data})


@dataclass(frozen=True)
class History:
    """What is remembered of a task's life.

    Attributes:
        events: in the order in which they were told; of progress the last one only.
        is_over: whether the task has come to its end.
    """

    events: tuple[Event, ...]
    is_over: bool

    @classmethod
    def of(cls, task_id: str, stored: Mapping[str, str]) -> Self:
        """Return it by a task's record as it is stored."""
        told = tuple(Event.read(event_id, task_id, text) for event_id, text in of_record(stored))
        return cls(told, is_over=stored.get("state") in FINAL)

    def after(self, event_id: str | None) -> tuple[Event, ...]:
        """Return what was told after an event; None: all."""
        if event_id is None:
            return self.events
        return tuple(each for each in self.events if each.id and is_later(each.id, event_id))

    def known(self, event_id: str | None) -> str | None:
        """Return an id that somebody saw last, or None if this history can't have had it, for it ends before."""
        newest = self.events[-1].id if self.events else None
        return None if event_id is None or newest is None or is_later(event_id, newest) else event_id


def is_later(event_id: str, other: str) -> bool:
    """Tell whether one event came after another."""
    return place(event_id) > place(other)


def checked_id(text: str | None, *, of: str) -> str | None:
    """Return the id of an event that a client gives; empty is none.

    Args:
        text: what was given.
        of: the name of the field.

    Raises:
        InvalidInput: it is no such id.
    """
    if not text:
        return None
    if not _ID.fullmatch(text):
        raise InvalidInput(text, "the id of an event, such as 1764364364123-0", field=of)
    return text
