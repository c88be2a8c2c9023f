"""py-amqp's connection, which gives its memory back once it is closed or lost."""

from __future__ import annotations

from typing import NoReturn

from amqp.exceptions import RecoverableConnectionError
from kombu.transport import pyamqp


class CollectedConnection(pyamqp.Connection):
    """A connection whose buffer ends with it.

    py-amqp has one of 128 KiB for what a connection sends, in a closure that refers to the connection and that the
    connection refers to. It would stay until Python looks for cycles among its oldest objects, which may take
    minutes: a process that is cut off again and again had dozens, and the pieces of the heap between them.
    """

    def collect(self) -> None:
        """Let go of the socket, the channels and the buffer."""
        super().collect()
        self.frame_writer = _refuse


def _refuse(*_: object) -> NoReturn:
    raise RecoverableConnectionError("connection already closed")
