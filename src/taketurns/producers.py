"""Kombu producers on a lent connection, through which Celery publishes: confirmed one by one, or many together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kombu import Producer

from taketurns.confirms import Returned

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu import Queue

    from taketurns.confirms import Channel, Sent
    from taketurns.connections import PublishConnection

_WINDOW: Final = 2_000
"""Messages that are under way together at most: RabbitMQ confirms what it has written to disk many at a time."""

_EXTENDED_EVERY: Final = 100
"""Messages after which those that are under way together have the whole timeout again."""


class ConfirmedProducer(Producer):
    """A kombu producer on a lent connection; Celery publishes tasks through it."""

    def __init__(
        self,
        connection: PublishConnection,
        left: Callable[[], float],
        attempt: Callable[[Callable[[], Any]], Any],
        into: Queue | None = None,
    ) -> None:
        super().__init__(connection, auto_declare=False)
        self._lent = connection
        self._left = left
        self._attempt = attempt
        self._into = into

    def publish(self, body: Any, **options: Any) -> Any:
        """Publish, and return when the broker has confirmed it; ``retry`` and its policy have no effect.

        Raises:
            BrokerUnavailable: nothing was accepted.
            PublishNotConfirmed: it may have been stored, or no queue took it.
        """
        options.update(retry=False)
        # Celery makes `expires` the message's TTL as well. The broker would then drop the task unseen, and shorten
        # its stay in a delay queue; a worker's gate reports it as expired.
        options.pop("expiration", None)

        def once() -> Any:
            self.revive(self._lent)
            if self._into is not None:
                self._into(self._lent.default_channel).declare()
            return super(ConfirmedProducer, self).publish(body, **options)

        self._lent.begin(self._left())
        return self._attempt(once)


class WindowProducer(ConfirmedProducer):
    """A kombu producer on a lent connection, which waits for the confirms of many messages together.

    What was under way on a connection that is lost is sent again on the next one, so it may be there twice.
    """

    def __init__(
        self,
        connection: PublishConnection,
        left: Callable[[], float],
        attempt: Callable[[Callable[[], Any]], Any],
    ) -> None:
        super().__init__(connection, left, attempt)
        self._sent: list[Sent] = []
        self._queues: dict[str, Queue] = {}
        self._on: Channel | None = None

    def declare(self, queue: Queue) -> None:
        """Declare a queue, once, and again on the next connection if this one is lost or the queue was not there.

        Raises:
            BrokerUnavailable: it was not declared.
        """
        if queue.name not in self._queues:
            self._queues[queue.name] = queue
            self._lent.extend(self._left())
            self._attempt(lambda: queue(self._resume()).declare())

    def publish(self, body: Any, **options: Any) -> Sent:
        """Publish, and return when the message is sent; its outcome is known after [settle][].

        Raises:
            BrokerUnavailable: this message was not accepted. Those before may be.
        """
        options.update(retry=False)
        options.pop("expiration", None)  # as above
        if len(self._sent) % _EXTENDED_EVERY == 0:
            self._lent.extend(self._left())

        def once() -> Any:
            self._resume()
            return Producer.publish(self, body, **options)

        sent: Sent = self._attempt(once)
        self._sent.append(sent)
        return sent

    def settle(self) -> None:
        """Wait until the outcome of all messages is known, as long as some become known every ``publish_timeout``.

        Raises:
            BrokerUnavailable: the broker went away or fell silent; what became of each message is what it says.
        """

        def once() -> None:
            channel = self._resume()
            while channel.under_way:
                self._lent.extend(self._left())
                channel.settle(max(0, len(channel.under_way) - _EXTENDED_EVERY))
            if any(sent.returned is not None for sent in self._sent):
                raise Returned("no queue took some of the messages")

        self._attempt(once)

    def end(self) -> None:
        """Have the connection confirm one message at a time again."""
        if self._on is not None:
            self._on.open_window = 0

    def _resume(self) -> Channel:
        """Return the channel; send on a new one what was under way on the one before, or came back."""
        channel = self._lent.default_channel
        if channel is not self._on:
            self._on = channel
            channel.open_window = _WINDOW
            self.revive(channel)
            for sent in self._sent:
                if sent.stored is None or sent.returned is not None:
                    if queue := self._queues.get(sent.options.get("routing_key", "")):
                        queue(channel).declare()
                    channel.send(sent)
        return channel
