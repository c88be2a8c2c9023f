"""Fetching messages from queues and holding them: each message once, and little of it at a time.

A consumer would be sent the whole queue at once, and nothing tells it when there is no more. So messages are
fetched, several at a time that a distant broker is not waited for with each, but not so many that large bodies fill
the memory. What was fetched and not acknowledged goes back in the end, to its old place.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from amqp import spec
from amqp.exceptions import AMQPError, NotFound

from taketurns import confirms
from taketurns.connections import PublishConnection
from taketurns.errors import TaketurnsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from amqp import Message
    from celery import Celery

_UNDER_WAY: Final = 16
"""Fetches that are not answered yet, at most."""

_FAREWELL: Final = 0.5
"""Seconds that the broker has to take back what was fetched, after a failure that is not its own."""


class Fetcher:
    """Fetches from queues on a connection of the caller's, which ends with it."""

    def __init__(self, connection: PublishConnection, *, seconds: float) -> None:
        """Open a channel for it.

        Args:
            connection: the connection.
            seconds: time that the broker has for each message.
        """
        self._connection = connection
        self._seconds = seconds
        self._held: dict[int, str] = {}
        self._asked: deque[str] = deque()
        self._channel = _Fetching(connection.connection, auto_decode=False)  # bodies are to stay bytes
        self._channel.open()

    def count(self, queue: str) -> int:
        """Return how many messages wait in a queue, which exists."""
        return int(self._channel.queue_declare(queue, passive=True).message_count)

    def fetched(
        self, queues: Iterable[str], *, under_way: int = _UNDER_WAY
    ) -> Iterator[tuple[str, Message | None]]:
        """Yield a message of each of these queues, in their order; None where the queue was empty.

        Args:
            queues: the names of queues that exist, one for each message that is wanted.
            under_way: fetches ahead of the caller, at most; so many messages go back if it stops in the middle.
        """
        ahead = iter(queues)
        asked = self._asked = deque()
        while True:
            for queue in islice(ahead, under_way - len(asked)):
                self._channel.fetch(queue)
                asked.append(queue)
            if not asked:
                return
            self._connection.extend(self._seconds)  # anew for each, since the caller may take its time
            while not self._channel.answers:
                self._connection.drain_events(timeout=self._connection.connection.remaining())
            queue, message = asked.popleft(), self._channel.answers.popleft()
            if message is not None:
                self._held[message.delivery_tag] = queue
            yield queue, message

    def take_away(self, message: Message) -> None:
        """Have the broker forget a message that was fetched; [close][] makes sure of it."""
        self._channel.basic_ack(message.delivery_tag)
        self._held.pop(message.delivery_tag, None)

    def close(self) -> None:
        """End the connection, and return when everything else that was fetched is in its place again.

        RabbitMQ 4 answers the close of a connection before that. But a queue that is asked for its count on the same
        channel answers after it has its messages back.
        """
        self._connection.extend(self._seconds)
        self._channel.give_all_back()
        with suppress(NotFound):  # deleted meanwhile; that closes the channel
            for queue in {*self._held.values(), *self._asked}:
                self.count(queue)
        self._connection.connection.close()


@contextmanager
def own_connection(app: Celery, *, seconds: float, purpose: str) -> Iterator[PublishConnection]:
    """Lend a connection of its own for fetching; it is closed at the end.

    Args:
        app: the app.
        seconds: time that the broker has for connecting, and then for what comes first.
        purpose: what an error says that RabbitMQ can't be asked for.

    Raises:
        BrokerUnavailable: RabbitMQ is away or refuses something.
    """
    connection = PublishConnection.of(app)
    connection.begin(seconds)
    try:
        yield connection
    except TaketurnsError:
        raise
    except (AMQPError, OSError) as error:
        connection.collect()  # no farewell, which would have to be waited for as well
        raise connection.failure(f"RabbitMQ can't be asked for {purpose}: {error}", error) from error
    finally:
        connection.begin(_FAREWELL)
        connection.release()


def headers_of(message: Message) -> dict[Any, Any]:
    """Return the headers of a fetched message."""
    headers: dict[Any, Any] = message.properties.get("application_headers") or {}
    return headers


def body_of(message: Message) -> bytes:
    """Return the body of a fetched message."""
    body: bytes = message.body or b""  # py-amqp has text for an empty one
    return body


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

    def give_all_back(self) -> None:
        """Send all that was fetched and not acknowledged back to its place."""
        self.send_method(spec.Basic.Nack, "Lbb", (0, True, True))

    def _on_message(self, *answer: Any) -> None:
        self.answers.append(self._on_get_ok(*answer))
