"""py-amqp's connection, for an event loop: what has come is read at once, and handled in one pass of the loop.

py-amqp reads each frame in three parts, and a message has three frames; kombu's loop handles one event in each of its
passes, and asks the kernel about all of its files in between. That is most of what a message costs a worker besides
its task. Where an answer is waited for no more is read than is needed: what lies in a buffer here wakes nobody who
waits for the socket.
"""

from __future__ import annotations

import errno
from struct import unpack_from
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from amqp.exceptions import RecoverableConnectionError
from amqp.transport import TCPTransport

from taketurns.collected import CollectedConnection

if TYPE_CHECKING:
    from collections.abc import Callable

_AHEAD: Final = 16_384
"""Bytes that are read at once; more would be copied more often, as each frame is cut off."""

_EVENTS: Final = 100
"""Events that one pass of the loop handles at most, so that timers and the pool have their turn."""

_SECONDS: Final = 0.01
"""Seconds after which a pass handles no more: with the solo pool each may be a task, and a stop waits for all."""

_NOT_NOW: Final = (errno.EAGAIN, errno.EINTR)
_AROUND: Final = 8  # bytes of a frame beside its payload: kind, channel and size before it, one behind it


class Socket(TCPTransport):
    """py-amqp's transport over TCP, which can read ahead.

    Attributes:
        ahead: bytes to read at once, if more than what is needed has come.
    """

    ahead = 0
    _read_buffer: bytes

    @property
    def has_frame(self) -> bool:
        """Whether a whole frame has been read."""
        buffer = self._read_buffer
        return len(buffer) >= _AROUND and len(buffer) >= _AROUND + unpack_from(">I", buffer, 3)[0]

    def _read(self, n: int, initial: bool = False, _errnos: Any = _NOT_NOW) -> bytes:  # noqa: ARG002, FBT001, FBT002  # py-amqp's signature
        while len(self._read_buffer) < n:
            try:
                data = self._quick_recv(max(n - len(self._read_buffer), self.ahead))
            except OSError as error:
                if error.errno in _NOT_NOW:
                    raise TimeoutError from error  # read_frame puts back what it has of the frame
                raise
            if not data:
                raise OSError("Server unexpectedly closed connection")
            self._read_buffer += data
        buffer = self._read_buffer
        self._read_buffer = buffer[n:]
        return buffer[:n]


class BufferedConnection(CollectedConnection):
    """A connection whose events a loop can have handled as they have come."""

    def Transport(  # noqa: N802  # py-amqp's name
        self, host: str, connect_timeout: float, ssl: Any = None, *args: Any, **options: Any
    ) -> Any:
        """Return a transport that can read ahead; over TLS py-amqp's own."""
        if ssl:
            return super().Transport(host, connect_timeout, ssl, *args, **options)
        return Socket(host, connect_timeout, *args, **options)

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Handle the next frame; without any system call if it has been read."""
        transport = self.transport
        if getattr(transport, "has_frame", False):
            return self.on_inbound_frame(transport.read_frame())
        return super().blocking_read(timeout)

    def handle_what_has_come(self) -> bool:
        """Handle events without waiting; return whether there may be more.

        Raises:
            RecoverableConnectionError: the connection is lost.
            OSError: the same.
        """
        if not self.connected:
            raise RecoverableConnectionError("Socket was disconnected")
        transport = self.transport
        transport.ahead = _AHEAD
        until = monotonic() + _SECONDS
        try:
            for _ in range(_EVENTS):
                self.drain_events(timeout=0)
                if monotonic() > until:
                    break
        except TimeoutError:
            return False
        except OSError as error:
            if error.errno in _NOT_NOW:
                return False
            raise
        finally:
            transport.ahead = 0
        return True


class ReadsAtOnce:
    """Mixed into a kombu transport, which then has such connections."""

    Connection = BufferedConnection

    def _make_reader(self, connection: BufferedConnection, *_: Any) -> Callable[[Any], None]:
        def read(loop: Any) -> None:
            more = True  # after an error too: nothing else tells the loop of what lies in the buffer
            try:
                more = connection.handle_what_has_come()
            finally:
                if more:
                    loop.call_soon(go_on, loop)

        def go_on(loop: Any) -> None:
            if connection.connected:  # else somebody has dealt with that, and the loop may serve another one
                read(loop)

        return read
