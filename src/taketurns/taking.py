"""Taking messages out of a queue, many at a time: the broker pushes them, and they are acknowledged together.

A quorum queue gives several times as many a second in this way as it does to fetches. What was not acknowledged is in
the queue again when the connection has ended.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from taketurns import confirms
from taketurns.errors import BrokerUnavailable
from taketurns.fetching import body_of, own_connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amqp import Message
    from celery import Celery

    from taketurns.connections import PublishConnection

AT_ONCE: Final = 250
"""Messages that are treated together, at most."""

_AHEAD: Final = 2 * AT_ONCE
"""Messages that the broker sends before it has an acknowledgement; so many go back at the end, at most."""

_LARGE: Final = 4_000_000
"""Bytes of messages after which no more are taken together. What is under way meanwhile is not read."""

_PAUSE: Final = 0.1
"""Seconds without a message after which the broker is asked whether there are any."""


class Taker:
    """Takes messages out of a queue, on a connection of the caller's, which ends with it. For one thread."""

    def __init__(self, connection: PublishConnection, queue: str, *, seconds: float) -> None:
        """Begin to consume.

        Args:
            connection: the connection.
            queue: the name of a queue that exists.
            seconds: time that the broker has for each answer, and for a message while some wait.
        """
        self._connection = connection
        self._queue = queue
        self._seconds = seconds
        self._came: deque[Message] = deque()
        self._seen = self._taken = 0
        self._is_over = False
        self._channel = confirms.Channel(connection.connection, auto_decode=False)  # bodies are to stay bytes
        self._channel.open()
        self._channel.basic_qos(0, _AHEAD, a_global=False)
        self._channel.basic_consume(queue, callback=self._on_message, on_cancel=self._on_cancel)

    def take(self, most: int) -> list[Message]:
        """Return the next messages: so many, or fewer if they are large or no more wait; none: the queue is empty.

        Raises:
            BrokerUnavailable: some wait and none comes.
        """
        taken: list[Message] = []
        size = 0
        while len(taken) < min(most, AT_ONCE) and size < _LARGE and (self._came or self._wait()):
            message = self._came.popleft()
            self._taken = message.delivery_tag
            taken.append(message)
            size += len(body_of(message))
        return taken

    def acknowledge(self) -> int:
        """Have the broker forget all that was taken so far, and return the number of the last one."""
        self._connection.extend(self._seconds)
        self._channel.basic_ack(self._taken, multiple=True)
        return self._taken

    @property
    def settled(self) -> int:
        """The number of the last message which the broker has forgotten by all that is known; [close][] tells all."""
        return self._seen - _AHEAD

    def close(self) -> None:
        """End the connection, and return when what was acknowledged is gone, and all else in its place again."""
        self._connection.extend(self._seconds)
        self._connection.connection.close()

    def _wait(self) -> bool:
        """Wait for a message; False: there are no more."""
        deadline = time.monotonic() + self._seconds
        while not (self._came or self._is_over):
            self._connection.extend(self._seconds)
            try:
                self._connection.drain_events(timeout=_PAUSE)
            except TimeoutError as error:
                if not confirms.is_deadline(error):
                    raise
                if not self._waiting():
                    break
                if time.monotonic() > deadline:
                    raise BrokerUnavailable(
                        f"RabbitMQ does not deliver what waits in {self._queue}; somebody else may consume it alone"
                    ) from error
        return bool(self._came)

    def _waiting(self) -> int:
        """Return how many messages wait; what was delivered before has come by then."""
        return (
            0 if self._is_over else int(self._channel.queue_declare(self._queue, passive=True).message_count)
        )

    def _on_message(self, message: Message) -> None:
        self._seen = message.delivery_tag
        self._came.append(message)

    def _on_cancel(self, _: str) -> None:
        self._is_over = True  # somebody has deleted the queue


@contextmanager
def taking(app: Celery, queue: str, *, seconds: float, purpose: str) -> Iterator[Taker]:
    """Lend what takes messages out of a queue.

    Args:
        app: the app.
        queue: the name of a queue that exists.
        seconds: time that the broker has for each answer.
        purpose: what an error says that RabbitMQ can't be asked for.

    Raises:
        BrokerUnavailable: RabbitMQ is away or refuses something. What was not acknowledged is in the queue again.
    """
    with own_connection(app, seconds=seconds, purpose=purpose) as connection:
        connection.default_channel  # noqa: B018  # connects
        taker = Taker(connection, queue, seconds=seconds)
        yield taker
        taker.close()
