"""A connection whose publishes are confirmed by the broker, each confirm matched with its own message.

py-amqp has confirms too, but takes whichever comes next for that of the last message: after a timeout the late
confirm of one message vouches for the next one. Here a confirm counts only by its delivery tag, every wait ends
at the connection's deadline, and a message that comes back as unroutable is a failure.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from amqp import exceptions
from kombu.transport import pyamqp

from taketurns.collected import CollectedConnection
from taketurns.errors import PublishNotConfirmed
from taketurns.transports import VerifiesHost
from taketurns.undecodable import tolerant_frame_handler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amqp import Message


class Returned(PublishNotConfirmed):
    """The broker had no queue to put the message into."""


class ConnectionLost(PublishNotConfirmed):
    """The connection ended between the message and its confirm."""


class Sent:
    """A message that was sent, and what became of it.

    Attributes:
        message: the message.
        options: the options of its publish.
        stored: whether the broker has confirmed it; None: that is not known yet.
        returned: why no queue took it, if none did.
    """

    __slots__ = ("message", "options", "returned", "stored")

    def __init__(self, message: Message, options: dict[str, Any]) -> None:
        self.message = message
        self.options = options
        self.stored: bool | None = None
        self.returned: str | None = None

    def failure(self) -> PublishNotConfirmed | None:
        """Return why it is not stored; None: it is."""
        if self.returned is not None:
            return Returned(f"no queue took the message: {self.returned}")
        if self.stored is None:
            return PublishNotConfirmed("RabbitMQ did not confirm the message in time")
        return None if self.stored else PublishNotConfirmed("RabbitMQ could not store the message")


class Channel(pyamqp.Channel):
    """A channel whose messages are confirmed: one at a time, or several that are under way together.

    Attributes:
        open_window: how many may be under way together; 0: each publish returns when its outcome is known.
        under_way: the messages whose outcome is not known, by their delivery tags, in this order.
    """

    open_window = 0
    under_way: dict[int, Sent]

    def open(self) -> None:
        """Open the channel and have the broker confirm what is published on it."""
        super().open()
        self._published = 0
        self.under_way = {}
        self.confirm_select()

    def basic_publish(self, message: Message, **options: Any) -> Sent:
        """Publish, and return when the broker has confirmed this very message, or in a window when it is sent.

        After any of the errors the connection must not be used again: a confirm may still be under way on it.

        Raises:
            Returned: no queue took the message; it is stored nowhere.
            ConnectionLost: the connection ended; the message may be stored.
            PublishNotConfirmed: the broker refused it, or did not answer before the deadline.
            NotFound: the exchange does not exist.
            AccessRefused: the user may not write to it.
        """
        options.pop("confirm_timeout", None)
        sent = Sent(message, options)
        self.send(sent)
        if not self.open_window:
            self.settle()
            if (failure := sent.failure()) is not None:
                raise failure
        return sent

    def send(self, sent: Sent) -> None:
        """Send a message, also one that was under way on a connection that is lost, once there is room in the window.

        The errors are those of [basic_publish][].
        """
        if self.open_window:
            self.settle(self.open_window - 1)
        sent.stored = sent.returned = None
        sent.options["timeout"] = self.connection.remaining()
        with self._translated():
            super().basic_publish(sent.message, **sent.options)
            self._published += 1
            self.under_way[self._published] = sent

    def settle(self, left: int = 0) -> None:
        """Wait until the outcome of all messages but so many is known; the errors are those of [basic_publish][]."""
        if len(self.under_way) <= left:
            return
        with self._translated():
            while len(self.under_way) > left:
                self.connection.drain_events(timeout=self.connection.remaining())

    def wait(
        self, method: Any, callback: Any = None, timeout: float | None = None, *, returns_tuple: bool = False
    ) -> Any:
        """Wait for an answer, at most until the connection's deadline."""
        if timeout is None and self.connection is not None:
            timeout = self.connection.remaining()
        return super().wait(method, callback, timeout, returns_tuple)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (exceptions.FrameSyntaxError, exceptions.NotFound, exceptions.AccessRefused):
            raise
        except (OSError, exceptions.ConnectionError) as error:
            if is_deadline(error):
                raise PublishNotConfirmed("RabbitMQ did not confirm the message in time") from error
            raise ConnectionLost(f"the connection ended before RabbitMQ confirmed: {error}") from error
        except exceptions.AMQPError as error:
            raise PublishNotConfirmed(f"RabbitMQ refused the message: {error}") from error

    def _on_basic_ack(self, *confirm: Any) -> None:
        self._settle(*confirm, stored=True)

    def _on_basic_nack(self, *confirm: Any) -> None:
        self._settle(*confirm, stored=False)

    def _settle(self, delivery_tag: int, multiple: Any, *, stored: bool) -> None:
        if not multiple:
            settled = [delivery_tag] if delivery_tag in self.under_way else []
        elif delivery_tag:
            settled = list(takewhile(lambda tag: tag <= delivery_tag, self.under_way))
        else:
            settled = list(self.under_way)
        for tag in settled:
            self.under_way.pop(tag).stored = stored

    def _on_basic_return(
        self, code: int, text: str, exchange: str, routing_key: str, message: Message
    ) -> None:
        # It comes before the confirm, which is positive: the broker is done with the message. It bears no tag.
        returned = f"{code} {text}, exchange {exchange!r}, routing key {routing_key!r}"
        of_task = message.properties.get("correlation_id")
        for sent in self.under_way.values():
            if len(self.under_way) == 1 or sent.message.properties.get("correlation_id") == of_task:
                sent.returned = returned


class Connection(CollectedConnection):
    """A connection on which nothing is waited for beyond ``deadline``, a time of the monotonic clock."""

    Channel = Channel
    deadline: float = math.inf

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, frame_handler=tolerant_frame_handler, **options)

    def remaining(self) -> float | None:
        """Return the seconds until the deadline, None if there is none.

        Raises:
            TimeoutError: it has passed.
        """
        if self.deadline == math.inf:
            return None
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("timed out")
        return seconds

    def wait(
        self, method: Any, callback: Any = None, timeout: float | None = None, *, returns_tuple: bool = False
    ) -> Any:
        """Wait for an answer, at most until the deadline."""
        return super().wait(method, callback, self.remaining() if timeout is None else timeout, returns_tuple)


def is_deadline(error: BaseException) -> bool:
    """Tell whether an error is a wait that was given up, not a connection that the kernel gave up."""
    return isinstance(error, TimeoutError) and error.errno is None


class Transport(VerifiesHost, pyamqp.Transport):
    """kombu's transport with these connections."""

    Connection = Connection


class SSLTransport(VerifiesHost, pyamqp.SSLTransport):
    """The same over TLS."""

    Connection = Connection
