"""A typed client of the HTTP API, for threads and for event loops. It needs httpx: ``taketurns[client]``.

It imports neither Celery nor anything else of the server.
"""

try:
    import httpx as _httpx  # noqa: F401
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "taketurns.client needs the package 'httpx', which is not installed: pip install \"taketurns[client]\"",
        name=_error.name,
    ) from None

from taketurns.client.asynchronous import AsyncClient
from taketurns.client.calls import LetterFilter, ScheduleChanges, TaskFilter
from taketurns.client.errors import (
    ApiError,
    Conflict,
    ConnectionFailed,
    Forbidden,
    Invalid,
    InvalidBatch,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)
from taketurns.client.events import Event
from taketurns.client.submission import Submission
from taketurns.client.sync import Client

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "Conflict",
    "ConnectionFailed",
    "Event",
    "Forbidden",
    "Invalid",
    "InvalidBatch",
    "LetterFilter",
    "NotFound",
    "ScheduleChanges",
    "Submission",
    "TaskFilter",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
]
