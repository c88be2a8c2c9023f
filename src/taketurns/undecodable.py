"""Messages whose properties py-amqp can't decode: they arrive all the same, without these.

A time stamp after the year 9999 in a header is enough. py-amqp raises then, with half of the message still to be
read on a connection that is of no more use, and the message would be met again by whoever comes next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from amqp.method_framing import frame_handler
from amqp.serialization import dumps

if TYPE_CHECKING:
    from collections.abc import Callable

UNDECODABLE: Final = "taketurns_undecodable"
"""The header that such a message has instead, with the reason."""

_HEADER_FRAME: Final = 2
_BEFORE_PROPERTIES: Final = 12  # bytes: class, weight and the body's size
_HEADERS_ALONE: Final = b"\x20\x00"  # the flags that say which properties follow


def tolerant_frame_handler(connection: Any, callback: Callable[..., None]) -> Callable[[Any], bool]:
    """Return py-amqp's handler of frames for a connection, made to survive such messages."""
    handle = frame_handler(connection, callback)

    def on_frame(frame: Any) -> bool:
        kind, channel, payload = frame
        try:
            return bool(handle(frame))
        except (ValueError, OverflowError, OSError, RecursionError) as error:
            if kind != _HEADER_FRAME:
                raise
            headers = dumps("F", [{UNDECODABLE: str(error)}])
            return bool(handle((kind, channel, payload[:_BEFORE_PROPERTIES] + _HEADERS_ALONE + headers)))

    return on_frame
