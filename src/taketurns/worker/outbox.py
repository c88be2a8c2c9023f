"""One write to the socket for all frames of a loop pass.

Every acknowledgement and every fetch is a frame of some twenty bytes; written one by one, as py-amqp does it, the
system calls cost a busy worker more than the scheduling.
"""

from __future__ import annotations

from struct import pack
from typing import Any

from amqp.serialization import dumps

_METHOD_FRAME = 1
_FRAME_END = 0xCE


class Outbox:
    """Collects method frames of one connection until [flush][].

    Args:
        connection: the py-amqp connection.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._frames: list[bytes] = []

    def __bool__(self) -> bool:
        return bool(self._frames)

    def add(self, channel_id: int, method: tuple[int, int], signature: str | None, arguments: Any) -> None:
        """Take a frame of a method without content."""
        payload = pack(">HH", *method) + (dumps(signature, arguments) if signature else b"")
        self._frames.append(
            pack(">BHI", _METHOD_FRAME, channel_id, len(payload)) + payload + bytes((_FRAME_END,))
        )

    def flush(self) -> None:
        """Write what was collected.

        Raises:
            OSError: the connection is lost.
        """
        if self._frames:
            data = b"".join(self._frames)
            self._frames.clear()
            self._connection.transport.write(data)
            self._connection.bytes_sent += len(data)  # tells the heartbeats that something was sent
