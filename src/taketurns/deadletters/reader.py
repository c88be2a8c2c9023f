"""Reading through a queue from its front, holding what was read."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

from taketurns.fetching import Fetcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amqp import Message

    from taketurns.connections import PublishConnection


class Reader(Fetcher):
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
        super().__init__(connection, seconds=seconds)
        self._queue = queue
        self.waiting = self.count(queue)

    def messages(self) -> Iterator[Message]:
        """Yield the messages, the first one first; fewer than were waiting if somebody else took some."""
        for _, message in self.fetched(repeat(self._queue, self.waiting)):
            if message is None:
                return
            yield message
