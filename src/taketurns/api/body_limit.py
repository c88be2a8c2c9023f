"""A limit to the bytes of a request's body, for every route."""

from http import HTTPStatus
from typing import TYPE_CHECKING

from taketurns.api.errors import ApiError, problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware that answers 413 to a body of more than ``limit`` bytes, and never holds more of it.

    A body that says its length is refused before it is read, one in chunks as soon as it is too long.
    """

    def __init__(self, app: "ASGIApp", *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limit:
            error = self._too_large()  # out here nobody would catch it
            await problem(error.status_code, error.code, error.detail, field=error.field)(
                scope, receive, send
            )
            return
        received = 0

        async def counted() -> "Message":
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise self._too_large()
            return message

        await self._app(scope, counted, send)

    def _too_large(self) -> ApiError:
        message = f"the body is too large; accepted are {self._limit} bytes at most"
        return ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", message, field="body")
