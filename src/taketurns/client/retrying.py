"""When a request that failed is worth another try, and when that does no harm. Pure, but for its dice."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, Self

import httpx

from taketurns.client.errors import (
    ApiError,
    ConnectionFailed,
    TooManyRequests,
    Unavailable,
    connection_failed,
)

if TYPE_CHECKING:
    from types import TracebackType

LONGEST: Final = 60.0
"""Seconds that the API may ask to wait; whoever has to wait for longer is told instead."""

_FIRST, _MOST = 0.25, 10.0
"""Seconds of the first pause, which doubles each time, and of the longest. A stream that has ended has the first."""


def is_worthwhile(error: ApiError, *, is_repeatable: bool) -> bool:
    """Return whether the same request may succeed later, and does no harm then."""
    if isinstance(error, TooManyRequests) or (
        isinstance(error, ConnectionFailed) and not error.may_have_arrived
    ):
        return True
    # A conflict that passes by itself says when: a submission with the same key is under way, for one.
    passes = isinstance(error, Unavailable | ConnectionFailed) or error.retry_after is not None
    return passes and is_repeatable


def pause_after(error: ApiError, failed: int, *, dice: float) -> float | None:
    """Return the seconds to wait after a failure; None: too many.

    Args:
        error: it.
        failed: how many tries have failed, with this one.
        dice: a number from 0 to 1, so that not all clients come back at once.
    """
    own = min(_MOST, _FIRST * 2 ** (failed - 1)) * (0.5 + dice / 2)
    asked = error.retry_after or 0.0
    return None if asked > LONGEST else max(own, asked)


class Attempts:
    """The tries of one request. Each is a ``with`` block, which swallows a failure that is worth another try.

    Attributes:
        pause: seconds to wait before the next try.

    Args:
        retries: tries after the first one, at most.
        is_repeatable: whether the request does no harm if it is sent twice.

    Raises:
        ApiError: from the block, the failure that was not worth another try, or was one too many; in place of
            httpx's own.
    """

    def __init__(self, retries: int, *, is_repeatable: bool) -> None:
        self.pause = _FIRST
        self._retries = retries
        self._failed = 0
        self._is_repeatable = is_repeatable

    def begin_anew(self) -> None:
        """Forget the failures, since something has come."""
        self._failed = 0

    def __enter__(self) -> Self:
        self.pause = _FIRST
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> bool:
        if isinstance(error, httpx.RequestError):
            failure: ApiError = connection_failed(error)
        elif isinstance(error, ApiError):
            failure = error
        else:
            return False
        self._failed += 1
        if self._failed <= self._retries and is_worthwhile(failure, is_repeatable=self._is_repeatable):
            pause = pause_after(failure, self._failed, dice=random.random())  # noqa: S311  # no secret
            if pause is not None:
                self.pause = pause
                return True
        if failure is error:
            return False
        raise failure from error
