"""What can go wrong with a request, told apart by what a caller can do about it."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHOWN: Final = 200
"""Characters that a message repeats of an answer that is not the API's own, at most."""

_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class ApiError(Exception):
    """A request has failed. The base of all errors of a client.

    Attributes:
        status: the HTTP status; None: there was no answer.
        code: a short code that programs may compare, such as ``backlog_full``.
        message: what was wrong, and what would be accepted or helps.
        field: the offending field; None: it is none.
        retry_after: seconds after which it is worth another try; None: the API did not say.
    """

    def __init__(
        self,
        status: int | None,
        code: str,
        message: str,
        *,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after
        super().__init__(status, code, message)

    def __str__(self) -> str:
        return f"{self.code if self.status is None else f'{self.status} {self.code}'}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(kind: type[ApiError], args: tuple[Any, ...], attributes: dict[str, Any]) -> ApiError:
    """Unpickle: an exception's own pickling would drop keyword-only fields."""
    error = kind(*args)
    error.__dict__.update(attributes)
    return error


class Invalid(ApiError):
    """A value is not valid, or too large; ``field`` names it."""


class InvalidBatch(Invalid):
    """Some tasks of a batch are not valid, so none was submitted.

    Attributes:
        errors: what is wrong with each of them, by its place, which is counted from 0; with the first 100.
    """

    errors: Mapping[int, Invalid] = {}


class Unauthorized(ApiError):
    """The token or API key is missing, not valid, or has expired."""


class Forbidden(ApiError):
    """The token or API key does not allow that."""


class NotFound(ApiError):
    """There is none of that name, or it is another tenant's."""


class Conflict(ApiError):
    """It is there already, or busy; with a ``retry_after`` the same request may succeed later."""


class TooManyRequests(ApiError):
    """As many of the tenant's tasks wait as may; nothing was submitted."""


class Unavailable(ApiError):
    """A server that this needs is away. Unless the code is ``not_confirmed``, nothing was submitted."""


class ConnectionFailed(ApiError, ConnectionError):
    """The API could not be reached, or did not answer in time.

    Attributes:
        may_have_arrived: whether the request may have been carried out all the same.
    """

    may_have_arrived = True


class UnexpectedAnswer(ApiError):
    """The answer is not one of this API's: a proxy's, or that of another version."""


_KINDS: Final[Mapping[int, type[ApiError]]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: TooManyRequests,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_of(status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> ApiError:
    """Return the error that an answer tells of.

    Args:
        status: its status.
        headers: its headers, whose names are looked up in lower case.
        body: its body.
        now: the time, in seconds since 1970.
    """
    kind = _KINDS.get(status, ApiError)
    retry_after = _seconds(headers.get("retry-after"), now=now)
    try:
        told = json.loads(body)
        code, message, field = str(told["error"]), str(told["message"]), told.get("field")
    except (ValueError, TypeError, LookupError):  # somebody between has answered
        shown = body[:_SHOWN].decode(errors="replace")
        kind = UnexpectedAnswer if kind is ApiError else kind
        return kind(status, "unexpected_answer", f"the answer was {shown!r}", retry_after=retry_after)
    if errors := told.get("errors"):
        batch = InvalidBatch(status, code, message, field=field)
        batch.errors = {
            each["index"]: Invalid(status, each["error"], each["message"], field=each["field"])
            for each in errors
        }
        return batch
    return kind(status, code, message, field=field, retry_after=retry_after)


def connection_failed(error: httpx.RequestError) -> ConnectionFailed:
    """Return the error for a request that had no answer."""
    arrived = not isinstance(error, _NEVER_SENT)
    asked = f"{error.request.method} {error.request.url.copy_with(query=None)}"
    why = str(error) or type(error).__name__
    outcome = "it may have been carried out all the same" if arrived else "it was not sent"
    failed = ConnectionFailed(None, "no_answer", f"{asked} had no answer ({why}); {outcome}")
    failed.may_have_arrived = arrived
    return failed


def _seconds(retry_after: str | None, *, now: float) -> float | None:
    """Read a ``Retry-After``, which is a number of seconds or a date."""
    if retry_after is None:
        return None
    try:
        if retry_after.strip().isdecimal():
            return float(retry_after)
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except ValueError:
        return None
