"""How WebSockets are accepted, refused and closed: by codes that a browser's script gets to see."""

from http import HTTPStatus
from typing import Final

from fastapi import WebSocket, WebSocketException
from fastapi.requests import HTTPConnection

from taketurns.api.auth import NotAuthenticated
from taketurns.api.credentials import SUBPROTOCOL
from taketurns.api.errors import ApiError, away
from taketurns.errors import InvalidInput, TaskNotFound

DONE: Final = 1000
STOPPING: Final = 1012
TRY_AGAIN: Final = 1013
NOT_AUTHENTICATED: Final = 4401
NOT_FOUND: Final = 4404
INVALID: Final = 4422
_FAILED: Final = 1011

_LONGEST_REASON: Final = 123
"""Bytes that a close frame has room for."""


async def accept(websocket: WebSocket) -> None:
    """Accept a WebSocket, with the first of its subprotocols if it came with a token there."""
    offered = websocket.scope.get("subprotocols") or [""]
    await websocket.accept(subprotocol=offered[0] if offered[0].lower() == SUBPROTOCOL else None)


async def refusal(connection: HTTPConnection, error: Exception) -> Exception:
    """Return what to raise for an error: a request's own is answered elsewhere, a WebSocket is closed by it.

    The WebSocket is accepted for that, since a browser tells nobody why a handshake was refused.
    """
    if not isinstance(connection, WebSocket):
        return error
    await accept(connection)
    return WebSocketException(*_close(error))


def _close(error: Exception) -> tuple[int, str]:
    code = _FAILED
    reason = "something went wrong here; the server's log says what"
    match error:
        case NotAuthenticated():
            code, reason = NOT_AUTHENTICATED, str(error)
        case TaskNotFound():
            code, reason = NOT_FOUND, "you have no task of this id"
        case InvalidInput():
            code, reason = INVALID, str(error)
        case ApiError(status_code=HTTPStatus.UNPROCESSABLE_ENTITY):
            code, reason = INVALID, error.detail
        case _ if told := away(error):
            code, reason = TRY_AGAIN, told[1]
    return code, fitting(reason)


def fitting(reason: str) -> str:
    """Return as much of a text as a close frame has room for."""
    return reason.encode("utf-8", "replace")[:_LONGEST_REASON].decode("utf-8", "ignore")
