"""Reading through a queue from its front, holding what was read: each message once, and little of it at a time.

A consumer would be sent the whole queue at once, and nothing tells it when there is no more. So messages are
fetched, several at a time that a distant broker is not waited for with each, but not so many that large bodies fill
the memory. What was read and not acknowledged is in its old place again when the connection has ended; RabbitMQ
answers a connection's close only when that is done.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from amqp import spec

from taketurns import confirms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amqp import Message

    from taketurns.connections import PublishConnection

_UNDER_WAY: Final = 16
"""Fetches that are not answered yet, at most."""


class Reader:
    """Reads a queue on a connection of the caller's, which ends with it.

    Attributes:
        waiting: messages that were in the queue at the beginning; no more than these are read.
    """

    def __init__(self, connection: PublishConnection, queue: str, *, seconds: float) -> None:
        """Open a channel for it.

        Args:
            connection: the connection.
            queue: the queue, which exists.
            seconds: time that the broker has for each message.
        """
        self._connection = connection
        self._queue = queue
        self._seconds = seconds
        self._channel = _Fetching(connection.connection, auto_decode=False)  # bodies are to stay bytes
        self._channel.open()
        self.waiting = int(self._channel.queue_declare(queue, passive=True).message_count)

    def messages(self) -> Iterator[Message]:
        """Yield the messages, the first one first; fewer than were waiting if somebody else took some."""
        asked = 0
        for read in range(self.waiting):
            while asked < min(read + _UNDER_WAY, self.waiting):
                self._channel.fetch(self._queue)
                asked += 1
            self._connection.extend(self._seconds)  # anew for each, since the caller may take its time
            while not self._channel.answers:
                self._connection.drain_events(timeout=self._connection.connection.remaining())
            if (message := self._channel.answers.popleft()) is None:
                return
            yield message

    def take_away(self, message: Message) -> None:
        """Have the broker forget a message that was read; [close][] makes sure of it."""
        self._channel.basic_ack(message.delivery_tag)

    def close(self) -> None:
        """End the connection, and return when everything else that was read is in its place again."""
        self._connection.extend(self._seconds)
        self._connection.connection.close()


class _Fetching(confirms.Channel):
    """A channel on which several fetches may be under way; None in ``answers``: the queue was empty."""

    def _setup_listeners(self) -> None:
        super()._setup_listeners()
        self.answers: deque[Message | None] = deque()
        self._callbacks.update(
            {spec.Basic.GetOk: self._on_message, spec.Basic.GetEmpty: lambda *_: self.answers.append(None)}
        )

    def fetch(self, queue: str) -> None:
        """Ask for the next message, without waiting for it."""
        self.send_method(spec.Basic.Get, "Bsb", (0, queue, False))

    def _on_message(self, *answer: Any) -> None:
        self.answers.append(self._on_get_ok(*answer))
