"""The dead-letter queue as an operator uses it: look through it, send letters back, throw them away."""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from amqp.exceptions import AMQPError, ResourceLocked

from taketurns.connections import PublishConnection
from taketurns.deadletters.letter import DeadLetter, revived
from taketurns.deadletters.selection import Selection
from taketurns.errors import BrokerUnavailable, DeadLettersBusy
from taketurns.topology import DEAD_QUEUE, declare_shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from amqp import Message

    from taketurns.extension import TakeTurns

    Progress = Callable[[int], None]

_EVERYTHING: Final = Selection()
_BUSY_FOR: Final = 5.0
"""Seconds to wait for somebody else who looks through the letters just now."""

_AGAIN_AFTER: Final = 0.1
_LOCK: Final = "usersequence.dead.reader"


def _unheard(_: int) -> None:
    """Take note of no progress."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did.

    Attributes:
        replayed: letters that went back to their tenant's queue.
        without_tenant: letters that were meant and stay, since nobody knows whose they are.
    """

    replayed: int = 0
    without_tenant: int = 0


class DeadLetters:
    """The dead letters of an app: ``turns.dead_letters``. Threads may share it.

    They are read in the order in which they came, by one reader at a time, who holds all that it has passed until it
    is done; whoever comes meanwhile waits for five seconds. What is neither replayed nor discarded is in its old
    place then, also if the reader dies. Each call raises BrokerUnavailable while RabbitMQ is away, and
    DeadLettersBusy if somebody else's look takes longer.
    """

    def __init__(self, turns: TakeTurns) -> None:
        """Prepare the client of the app of ``turns``; nothing is opened yet."""
        self._turns = turns
        self._seconds = turns.settings.broker.publish_timeout

    def count(self) -> int:
        """Return how many there are, but for those that a reader holds just now."""
        with self._channel() as (_, channel):
            return int(channel.queue_declare(DEAD_QUEUE, passive=True).message_count)

    def list(self, selection: Selection = _EVERYTHING, *, limit: int | None = None) -> list[DeadLetter]:
        """Return the letters that are meant, the oldest first.

        Args:
            selection: which ones; all by default.
            limit: how many at most; None is any number.
        """
        found: list[DeadLetter] = []

        def keep(letter: DeadLetter, _: Message) -> bool:
            found.append(letter)
            return False

        self._walk(selection, keep, limit=limit)
        return found

    def get(self, letter_id: str) -> DeadLetter | None:
        """Return the letter of this id, or None if there is none."""
        return next(iter(self.list(Selection(ids={letter_id}), limit=1)), None)

    def replay(
        self, selection: Selection, *, limit: int | None = None, progress: Progress = _unheard
    ) -> Replayed:
        """Send letters back to their tenants' queues, where they run at once and with all of their retries.

        A letter is taken away only after the broker has confirmed its copy: if this process dies between the two,
        its task runs twice. What fails in the middle leaves the rest as it was.

        Args:
            selection: which ones.
            limit: how many at most; None is any number.
            progress: told how many have been sent back so far, after each.

        Raises:
            PublishNotConfirmed: the broker did not confirm one; it may run, and is still a dead letter.
        """
        replayed = without_tenant = 0

        def send_back(letter: DeadLetter, message: Message) -> bool:
            nonlocal replayed, without_tenant
            if letter.tenant is None:
                without_tenant += 1
                return False
            queue = self._turns.publisher.ensure(letter.tenant)
            properties = {**message.properties, "application_headers": revived(_headers(message))}
            self._turns.publisher.publish(message.body, routing_key=queue, properties=properties)
            replayed += 1
            progress(replayed)
            return True

        self._walk(selection, send_back, limit=limit)
        return Replayed(replayed, without_tenant)

    def discard(
        self, selection: Selection, *, limit: int | None = None, progress: Progress = _unheard
    ) -> int:
        """Throw letters away, and return how many.

        Args:
            selection: which ones.
            limit: how many at most; None is any number.
            progress: told how many have been thrown away so far, after each.
        """
        discarded = 0

        def throw_away(*_: object) -> bool:
            nonlocal discarded
            discarded += 1
            progress(discarded)
            return True

        self._walk(selection, throw_away, limit=limit)
        return discarded

    def _walk(
        self, selection: Selection, visit: Callable[[DeadLetter, Message], bool], *, limit: int | None
    ) -> None:
        """Visit the letters that are meant; those of which the visit returns True are taken away."""
        visited = 0
        with (
            self._channel() as (connection, channel),
            _alone(connection),
            _messages(connection, channel) as messages,
        ):
            while limit is None or visited < limit:
                connection.begin(self._seconds)  # anew for each: a visit may take its time
                if (message := next(messages, None)) is None:
                    break
                letter = DeadLetter.read(_headers(message), message.body)
                if selection.has(letter):
                    visited += 1
                    if visit(letter, message):
                        channel.basic_ack(message.delivery_tag)

    @contextmanager
    def _channel(self) -> Iterator[tuple[PublishConnection, Any]]:
        """Lend a connection of its own and its channel, on which the queue exists; both are closed at the end."""
        connection = PublishConnection.of(self._turns.app)
        connection.begin(self._seconds)
        try:
            channel = connection.default_channel
            channel.auto_decode = False  # a body is to be sent on as the bytes that it is
            declare_shared(channel)
            yield connection, channel
        except BrokerUnavailable:
            raise
        except (AMQPError, OSError) as error:
            raise BrokerUnavailable(f"RabbitMQ can't be asked for dead letters: {error}") from error
        finally:
            connection.begin(self._seconds)
            connection.release()


@contextmanager
def _alone(connection: PublishConnection) -> Iterator[None]:
    """Keep others away while the block runs: by a queue that one connection can have, and that ends with it."""
    deadline = time.monotonic() + _BUSY_FOR
    connection.begin(2 * _BUSY_FOR)
    channel = connection.channel()
    while True:
        try:
            channel.queue_declare(_LOCK, exclusive=True)
            break
        except ResourceLocked:  # py-amqp has opened the channel again
            if time.monotonic() > deadline:
                raise DeadLettersBusy(
                    "somebody else is looking through the dead letters; try again in a while"
                ) from None
            time.sleep(_AGAIN_AFTER)
    yield


@contextmanager
def _messages(connection: PublishConnection, channel: Any) -> Iterator[Iterator[Message]]:
    """Lend the messages that are there now, unacknowledged; those that still are at the end go back."""
    waiting = channel.queue_declare(DEAD_QUEUE, passive=True).message_count
    arrived: deque[Message] = deque()
    tag = channel.basic_consume(DEAD_QUEUE, callback=arrived.append)

    def read() -> Iterator[Message]:
        for _ in range(waiting):
            while not arrived:
                connection.drain_events(timeout=connection.connection.remaining())
            yield arrived.popleft()

    try:
        yield read()
    finally:
        # One after the other, and waited for: whoever is next then finds all of them.
        channel.basic_cancel(tag)
        channel.close()


def _headers(message: Message) -> dict[str, Any]:
    headers: dict[str, Any] = message.properties.get("application_headers") or {}
    return headers
