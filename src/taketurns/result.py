"""The result of a task whose submission made no subscription to it; see ``TenantTask``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.backends.redis import RedisBackend
from celery.result import AsyncResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


class TenantResult(AsyncResult):
    """Celery's result, which may have come before anybody asked for it.

    Attributes:
        duplicate: the submission had the idempotency key of an earlier one, whose result this is.
        blocked: whether the task waited for others when it was submitted.
        due: when it is to start at the earliest, if not at once.
    """

    duplicate = False
    blocked = False
    due: datetime | None = None

    def then(
        self,
        callback: Callable[..., Any],
        on_error: Callable[..., Any] | None = None,
        weak: bool = False,  # noqa: FBT001, FBT002  # Celery's signature
    ) -> Any:
        """Call back when the task has ended, also if it has by now."""
        promise = super().then(callback, on_error, weak)
        if isinstance(self.app.backend, RedisBackend):
            self.backend.result_consumer.on_wait_for_pending(self)
        return promise
