"""Talking with chosen workers by Celery's remote control."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Self

from amqp.exceptions import AMQPError
from kombu.exceptions import KombuError

from taketurns.connections import PublishConnection
from taketurns.errors import PublishNotConfirmed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from celery import Celery

ANSWER_SECONDS: Final = 1.0
"""Seconds that workers have for an answer; one that comes later does not count."""


class Conversation:
    """Asks and tells workers, on a connection of its own, opened when needed and then kept. For one thread."""

    def __init__(self, app: Celery, *, timeout: float) -> None:
        """Prepare; nothing is opened yet.

        Args:
            app: the Celery app of the workers.
            timeout: seconds that the broker has for connecting and for each answer.
        """
        self._app = app
        self._timeout = timeout
        self._connection = PublishConnection.of(app)
        self._mailbox: Any = None

    def ask(
        self,
        workers: Collection[str],
        command: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        within: float = ANSWER_SECONDS,
    ) -> dict[str, dict[str, Any]]:
        """Return what these workers answered in so many seconds, by their names; an error is no answer.

        Raises:
            BrokerUnavailable: the workers can't be reached.
        """
        if not workers:
            return {}  # to Celery, no destination means everybody
        began = monotonic()
        try:
            replies = self._call(workers, command, arguments or {}, within)
        except PublishNotConfirmed:
            if monotonic() - began > ANSWER_SECONDS:
                raise
            # RabbitMQ refuses what it can't put into every queue, such as that of a worker that was just killed.
            replies = self._call(workers, command, arguments or {}, within)
        return {
            worker: answer
            for reply in replies
            for worker, answer in reply.items()
            if isinstance(answer, dict) and "error" not in answer
        }

    def tell(self, workers: Collection[str], command: str, arguments: Mapping[str, Any]) -> None:
        """Send these workers a command, without waiting for what they answer.

        Raises:
            BrokerUnavailable: the workers can't be reached.
        """
        if workers:
            with self._lent_mailbox() as mailbox:
                mailbox.cast(sorted(workers), command, dict(arguments))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connection; the next question opens a new one."""
        self._mailbox = None
        self._connection.begin(self._timeout)
        self._connection.release()

    def _call(
        self, workers: Collection[str], command: str, arguments: Mapping[str, Any], within: float
    ) -> list[dict[str, Any]]:
        with self._lent_mailbox() as mailbox:
            replies: list[dict[str, Any]] = mailbox.call(
                sorted(workers), command, dict(arguments), timeout=within
            )
        return replies

    @contextmanager
    def _lent_mailbox(self) -> Iterator[Any]:
        self._connection.begin(self._timeout + ANSWER_SECONDS)
        try:
            if self._mailbox is None:
                self._mailbox = self._connection.mailbox(self._app)  # kept, for its queue of answers
            yield self._mailbox
        except (AMQPError, KombuError, OSError) as error:
            self._connection.collect()
            self._mailbox = None
            raise self._connection.failure(
                f"RabbitMQ can't be reached to ask the workers: {error}", error
            ) from error
