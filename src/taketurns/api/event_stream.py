"""Server-sent events."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from anyio import move_on_after
from fastapi.responses import StreamingResponse

from taketurns.live.event import Event
from taketurns.live.stream import Stream

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

_STUCK: Final = 30.0
"""Seconds for which a client may take nothing of what is sent."""

_HEADERS: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""So that no proxy keeps anything, or keeps it back (nginx)."""

_SIGN_OF_LIFE: Final = b": still here\n\n"

_LAST_WORDS: Final = Event("unauthorised", data={"message": "the token or API key has expired"})


class _Stuck(Exception):
    """The client takes nothing any more."""


class EventStream(StreamingResponse):
    """Sends a stream, which was begun before, until it ends or the client has gone.

    A stream that ends since the client's time is up says so by a last event.
    """

    media_type = "text/event-stream"

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        super().__init__(_frames(stream), headers=_HEADERS)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Send it."""

        async def send_in_time(message: "Message") -> None:
            with move_on_after(_STUCK) as limit:
                await send(message)
            if limit.cancelled_caught:
                raise _Stuck

        try:
            await super().__call__(scope, receive, send_in_time)
        except _Stuck:
            pass  # the server closes the connection
        finally:
            await self._stream.__aexit__()


async def _frames(stream: Stream) -> AsyncIterator[bytes]:
    async for event in stream:
        yield _SIGN_OF_LIFE if event is None else _frame(event)
    if stream.ended == "unauthorised":
        yield _frame(_LAST_WORDS)


def _frame(event: Event) -> bytes:
    of_id = "" if event.id is None else f"id: {event.id}\n"
    return f"event: {event.kind}\n{of_id}data: {event.json}\n\n".encode()
