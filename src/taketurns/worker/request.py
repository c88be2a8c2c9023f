"""Celery's request of a tenant's task: it remembers how the task ended until its message is settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import Terminated, WorkerLostError
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.serialization import get_pickled_exception
from celery.worker.request import Request
from kombu.utils.encoding import safe_repr

from taketurns.deadletters.letter import Death
from taketurns.errors import WrongArguments

if TYPE_CHECKING:
    from billiard.einfo import ExceptionInfo

    from taketurns.deadletters.letter import Cause

# These are no failures of the task. After the last three its message goes back, or somebody wanted its end.
_NO_FAILURES = (Ignore, Retry, Terminated, WorkerLostError, SystemExit, KeyboardInterrupt)


class TenantRequest(Request):
    """The request of a TenantTask, by Celery's ``Task.Request``.

    Attributes:
        death: why the task has failed for good; None while it has not.
    """

    death: Death | None = None
    _succeeds = True

    @property
    def completed(self) -> bool:
        """Whether the task has ended well, if its message is about to be acknowledged.

        Celery makes a class of its own of this one, with another ``on_success``. But whatever else may come of a task
        that has begun is told here.
        """
        begun = self.time_start is not None
        return begun and self._succeeds and not (self._already_revoked or self._already_cancelled)

    def on_failure(self, exc_info: ExceptionInfo, *args: Any, **kwargs: Any) -> None:
        """Note the failure before Celery settles the message."""
        self._succeeds = False
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if not isinstance(error, _NO_FAILURES):
            self.death = self._death(
                _cause(error), safe_repr(get_pickled_exception(error)), exc_info.traceback
            )
        super().on_failure(exc_info, *args, **kwargs)

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001  # Celery's signature
        """Note a hard time limit: Celery settles the message here and not in ``on_failure``."""
        if not soft:
            self.death = self._death("failed", f"TimeLimitExceeded: it ran for more than {timeout:g} s")
        super().on_timeout(soft, timeout)

    def _death(self, cause: Cause, reason: str, traceback: object = "") -> Death:
        retries = self.request_dict.get("retries") or 0
        return Death(cause, reason, str(traceback or ""), attempts=retries + 1)


def _cause(error: BaseException) -> Cause:
    if isinstance(error, Reject):
        return "rejected"
    return "wrong_arguments" if isinstance(error, WrongArguments) else "failed"
