"""A connection whose publishes are confirmed by the broker, each confirm matched with its own message.

py-amqp has confirms too, but takes whichever comes next for that of the last message: after a timeout the late
confirm of one message vouches for the next one. Here a confirm counts only by its delivery tag, every wait ends
at the connection's deadline, and a message that comes back as unroutable is a failure.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from amqp import exceptions
from kombu.transport import pyamqp

from taketurns.errors import PublishNotConfirmed
from taketurns.transports import VerifiesHost
from taketurns.undecodable import tolerant_frame_handler

if TYPE_CHECKING:
    from amqp import Message


class Returned(PublishNotConfirmed):
    """The broker had no queue to put the message into."""


class ConnectionLost(PublishNotConfirmed):
    """The connection ended between the message and its confirm."""


class Channel(pyamqp.Channel):
    """A channel on which one publish is under way at a time, each until its outcome is known."""

    _published = 0
    _outcome: bool | None = None
    _returned: str | None = None

    def open(self) -> None:
        """Open the channel and have the broker confirm what is published on it."""
        super().open()
        self._published = 0
        self.confirm_select()

    def basic_publish(self, message: Message, **options: Any) -> None:
        """Publish, and return when the broker has confirmed this very message.

        After any of the errors the connection must not be used again: a confirm may still be under way on it.

        Raises:
            Returned: no queue took the message; it is stored nowhere.
            ConnectionLost: the connection ended; the message may be stored.
            PublishNotConfirmed: the broker refused it, or did not answer before the deadline.
            NotFound: the exchange does not exist.
            AccessRefused: the user may not write to it.
        """
        options.pop("confirm_timeout", None)
        options["timeout"] = self.connection.remaining()
        self._outcome = self._returned = None
        try:
            super().basic_publish(message, **options)
            self._published += 1
            while self._outcome is None:
                self.connection.drain_events(timeout=self.connection.remaining())
        except (exceptions.FrameSyntaxError, exceptions.NotFound, exceptions.AccessRefused):
            raise
        except (OSError, exceptions.ConnectionError) as error:
            if is_deadline(error):
                raise PublishNotConfirmed("RabbitMQ did not confirm the message in time") from error
            raise ConnectionLost(f"the connection ended before RabbitMQ confirmed: {error}") from error
        except exceptions.AMQPError as error:
            raise PublishNotConfirmed(f"RabbitMQ refused the message: {error}") from error
        if self._returned is not None:
            raise Returned(f"no queue took the message: {self._returned}")
        if not self._outcome:
            raise PublishNotConfirmed("RabbitMQ could not store the message")

    def wait(
        self, method: Any, callback: Any = None, timeout: float | None = None, *, returns_tuple: bool = False
    ) -> Any:
        """Wait for an answer, at most until the connection's deadline."""
        if timeout is None and self.connection is not None:
            timeout = self.connection.remaining()
        return super().wait(method, callback, timeout, returns_tuple)

    def _on_basic_ack(self, *confirm: Any) -> None:
        self._settle(*confirm, stored=True)

    def _on_basic_nack(self, *confirm: Any) -> None:
        self._settle(*confirm, stored=False)

    def _settle(self, delivery_tag: int, multiple: Any, *, stored: bool) -> None:
        if delivery_tag == self._published or (
            multiple and (delivery_tag == 0 or delivery_tag > self._published)
        ):
            self._outcome = stored

    def _on_basic_return(self, code: int, text: str, exchange: str, routing_key: str, *_: Any) -> None:
        # It comes before the confirm, which is positive: the broker is done with the message.
        self._returned = f"{code} {text}, exchange {exchange!r}, routing key {routing_key!r}"


class Connection(pyamqp.Connection):
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
