"""The dead-letter queue as an operator uses it: look through it, send letters back, throw them away."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from amqp.exceptions import ResourceLocked

from taketurns.deadletters.letter import DeadLetter, revived
from taketurns.deadletters.reader import Reader
from taketurns.deadletters.selection import Selection
from taketurns.errors import DeadLettersBusy, InvalidInput
from taketurns.fetching import body_of, headers_of, own_connection
from taketurns.progress import Step, unheard
from taketurns.topology import DEAD_QUEUE, declare_shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from amqp import Message

    from taketurns.connections import PublishConnection
    from taketurns.extension import TakeTurns

_EVERYTHING: Final = Selection()
_BUSY_FOR: Final = 2.0
"""Seconds to wait for somebody else who looks through the letters just now."""

_AGAIN_AFTER: Final = 0.1
_LOCK: Final = "usersequence.dead.reader"


@dataclass(frozen=True, slots=True)
class Found:
    """What a look through the letters found.

    Attributes:
        letters: those that were meant, the oldest first.
        total: all that there are.
    """

    letters: list[DeadLetter]
    total: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a replay or a discard did.

    Attributes:
        done: letters that were sent back, or thrown away.
        without_tenant: letters that a replay meant and left where they are, since nobody knows whose they are.
        missing: the ids that were named and that no letter has which was meant.
    """

    done: int = 0
    without_tenant: int = 0
    missing: frozenset[str] = frozenset()


class DeadLetters:
    """The dead letters of an app: ``turns.dead_letters``. Threads may share it.

    They are read in the order in which they came, by one reader at a time, who holds all that it has passed until it
    is done; whoever comes meanwhile waits for two seconds. What is neither replayed nor discarded is in its old
    place then, also if the reader dies. Each call raises BrokerUnavailable while RabbitMQ is away, DeadLettersBusy if
    somebody else's look takes longer, and InvalidInput for a limit that is no whole number from 1.
    """

    def __init__(self, turns: TakeTurns) -> None:
        """Prepare the client of the app of ``turns``; nothing is opened yet."""
        self._turns = turns
        self._seconds = turns.settings.broker.publish_timeout

    def count(self) -> int:
        """Return how many there are, but for those that a reader holds just now."""
        with self._connected() as connection:
            return int(connection.default_channel.queue_declare(DEAD_QUEUE, passive=True).message_count)

    def look(
        self, selection: Selection = _EVERYTHING, *, limit: int | None = None, brief: bool = False
    ) -> Found:
        """Return the letters that are meant, and how many there are in all.

        Args:
            selection: which ones; all by default.
            limit: how many at most; None is any number.
            brief: leave tracebacks, headers and bodies empty, since many of them may be large.
        """
        _check_limit(limit)
        with self._reading() as reader:
            meant = (letter for letter, _ in _letters(reader, brief=brief) if selection.has(letter))
            return Found(list(islice(meant, limit)), reader.waiting)

    def list(self, selection: Selection = _EVERYTHING, *, limit: int | None = None) -> list[DeadLetter]:
        """Return the letters that are meant, the oldest first; the arguments are those of [look][]."""
        return self.look(selection, limit=limit).letters

    def get(self, letter_id: str) -> DeadLetter | None:
        """Return the letter of this id, or None if there is none."""
        return next(iter(self.list(Selection(ids={letter_id}), limit=1)), None)

    def replay(
        self, selection: Selection, *, limit: int | None = None, progress: Callable[[Step], None] = unheard
    ) -> Outcome:
        """Send letters back to their tenants' queues, where they run at once and with all of their retries.

        A letter is taken away only after the broker has confirmed its copy: if this process dies between the two,
        its task runs twice. What fails in the middle leaves the rest as it was. RabbitMQ, if it is killed meanwhile,
        may have forgotten what was taken away a moment before.

        Args:
            selection: which ones.
            limit: how many to send back at most; None is any number.
            progress: told before the first letter, and after each that was looked at. What it raises ends the replay
                there, and no task runs twice for it.

        Raises:
            PublishNotConfirmed: the broker did not confirm one; it may run, and is still a dead letter.
        """

        def send_back(letter: DeadLetter, message: Message) -> bool:
            if letter.tenant is None or letter.owner is None:
                return False
            whose = self._turns.tenancy.key.whose_now(letter.owner, letter.tenant)
            queue = self._turns.publisher.ensure(whose.tenant)
            self._turns.recorder.replayed(self._turns.app.tasks.get(letter.task), whose, letter)
            headers = whose.in_headers(revived(headers_of(message)))
            properties = {**message.properties, "application_headers": headers}
            self._turns.publisher.publish(body_of(message), routing_key=queue, properties=properties)
            return True

        return self._treat(selection, send_back, limit=limit, progress=progress)

    def discard(
        self, selection: Selection, *, limit: int | None = None, progress: Callable[[Step], None] = unheard
    ) -> Outcome:
        """Throw letters away.

        Args:
            selection: which ones.
            limit: how many at most; None is any number.
            progress: told before the first letter, and after each that was looked at; what it raises ends the
                discard there.
        """
        return self._treat(selection, lambda *_: True, limit=limit, progress=progress)

    def _treat(
        self,
        selection: Selection,
        treat: Callable[[DeadLetter, Message], bool],
        *,
        limit: int | None,
        progress: Callable[[Step], None],
    ) -> Outcome:
        """Treat the letters that are meant; those of which ``treat`` returns True are taken away."""
        _check_limit(limit)
        done = left = 0
        missing = set(selection.ids or ())
        with self._reading() as reader:
            progress(Step(0, reader.waiting, done))
            for passed, (letter, message) in enumerate(_letters(reader, brief=True), start=1):
                if done == limit:
                    break
                if selection.has(letter):
                    missing.discard(letter.id)
                    if treat(letter, message):
                        reader.take_away(message)
                        done += 1
                    else:
                        left += 1
                progress(Step(passed, reader.waiting, done))
        return Outcome(done, left, frozenset(missing))

    @contextmanager
    def _reading(self) -> Iterator[Reader]:
        """Lend a reader of the letters, while nobody else has one."""
        with self._connected() as connection:
            _keep_others_away(connection)
            reader = Reader(connection, DEAD_QUEUE, seconds=self._seconds)
            yield reader
            reader.close()

    @contextmanager
    def _connected(self) -> Iterator[PublishConnection]:
        """Lend a connection of its own, with the queue declared; it is closed at the end."""
        with own_connection(self._turns.app, seconds=self._seconds, purpose="dead letters") as connection:
            declare_shared(connection.default_channel)
            yield connection


def _check_limit(limit: object) -> None:
    if limit is not None and not (type(limit) is int and limit > 0):
        raise InvalidInput(limit, "a whole number from 1, or None", field="limit")


def _keep_others_away(connection: PublishConnection) -> None:
    """Wait until nobody else reads, and keep others away by a queue that one connection can have and ends with it.

    Raises:
        DeadLettersBusy: somebody else reads for too long.
    """
    channel = connection.default_channel
    deadline = time.monotonic() + _BUSY_FOR
    while True:
        try:
            channel.queue_declare(_LOCK, exclusive=True)
        except ResourceLocked:  # py-amqp has opened the channel again
            if time.monotonic() > deadline:
                raise DeadLettersBusy(
                    "somebody else is looking through the dead letters; try again in a while"
                ) from None
            time.sleep(_AGAIN_AFTER)
        else:
            return


def _letters(reader: Reader, *, brief: bool) -> Iterator[tuple[DeadLetter, Message]]:
    for message in reader.messages():
        yield DeadLetter.read(headers_of(message), body_of(message), brief=brief), message
