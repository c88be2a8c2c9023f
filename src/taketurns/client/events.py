"""The events of tasks as the API tells them, and how a stream of them goes on after it broke. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from taketurns.client.errors import UnexpectedAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

SILENCE: Final = 45.0
"""Seconds without a word after which a connection is taken for dead; the API gives a sign of life every 15."""

_ENDS: Final = frozenset({"completed", "failed", "cancelled", "expired", "dead", "ignored"})


@dataclass(frozen=True)
class Event:
    """Something that happened to a task, or to the stream that tells of it.

    Attributes:
        kind: what: ``queued``, ``started``, ``progress``, ``completed`` and so on; ``connected``, or ``gap``: some
            events may be missing here.
        id: its id, which grows with time; None: it is one of the stream's own.
        task_id: the task; None: it is about no single one.
        at: when it happened, in seconds since 1970; None: it was not told.
        data: what else is told of it, such as ``worker`` or ``done``.
    """

    kind: str
    id: str | None = None
    task_id: str | None = None
    at: float | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether the task has come to its end by it."""
        return self.kind in _ENDS


class Following:
    """Reads the lines of a stream, connection after connection, and knows where to go on.

    Attributes:
        last_id: the id of the last event that came; None: none did.
        is_over: whether there is nothing more to come.

    Args:
        after: the id of the event after which it begins; None: at the beginning.
    """

    def __init__(self, after: str | None) -> None:
        self.last_id = after
        self.is_over = False
        self._is_final = False
        self._was_connected = False
        self._data: list[str] = []

    @property
    def headers(self) -> dict[str, str]:
        """Those of the request for the next connection."""
        own = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        return own if self.last_id is None else own | {"Last-Event-ID": self.last_id}

    def connected(self, status: int) -> None:
        """Note that the API has answered, with a status of success: 204 says that the task has ended."""
        self._data = []
        self.is_over = status == 204  # noqa: PLR2004

    def take(self, line: str) -> Event | None:
        """Return the event that a line completes, if it does and is news.

        Raises:
            UnexpectedAnswer: this is no event of this API.
        """
        if line.startswith("data:"):
            self._data.append(line.removeprefix("data:").removeprefix(" "))
        if line or not self._data:
            return None
        text, self._data = "\n".join(self._data), []
        event = _read(text)
        self.last_id = event.id or self.last_id
        if event.task_id is not None and event.kind != "connected":
            self._is_final = event.is_final
        if event.kind == "unauthorised":  # the next connection is refused
            return None
        if event.kind == "connected":
            is_news, self._was_connected = not self._was_connected, True
            return event if is_news else None
        return event

    def ended(self, *, of_task: bool) -> None:
        """Note that the stream has ended in good order. That of a task is over then, if the last event was an end."""
        self.is_over = self.is_over or (of_task and self._is_final)


def _read(text: str) -> Event:
    try:
        told = json.loads(text)
        kind = str(told.pop("event"))
        return Event(kind, told.pop("id", None), told.pop("task_id", None), told.pop("at", None), told)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UnexpectedAnswer(None, "unexpected_answer", f"this is no event: {text[:200]!r}") from error
