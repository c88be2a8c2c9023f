"""Celery's request of a tenant's task: it remembers how the task ended until its message is settled."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import Terminated, WorkerLostError
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.serialization import get_pickled_exception
from celery.worker.request import Request
from kombu.utils.encoding import safe_repr

from taketurns.deadletters.letter import Death, number_of
from taketurns.errors import WrongArguments
from taketurns.records.lifecycle import shortened

if TYPE_CHECKING:
    from billiard.einfo import ExceptionInfo

    from taketurns.deadletters.letter import Cause
    from taketurns.records.lifecycle import Kind
    from taketurns.worker.journal import Journal

# These are no failures of the task. After the last three its message goes back, or somebody wanted its end.
_NO_FAILURES = (Ignore, Retry, Terminated, WorkerLostError, SystemExit, KeyboardInterrupt)


class TenantRequest(Request):
    """The request of a TenantTask, by Celery's ``Task.Request``.

    Attributes:
        death: why the task has failed for good; None while it has not.
        retried: whether it is to be tried again.
        error: the type and the text of what it failed with.
        journal: where its steps are noted; None: they are not recorded.
        tenant: the tenant whose queue it came from.
    """

    death: Death | None = None
    retried = False
    error: tuple[str, str] = ("", "")
    journal: Journal | None = None
    tenant: str = ""
    _succeeds = True

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Note the start; called when a process or thread has the task."""
        self.note("started")
        super().on_accepted(pid, time_accepted)

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
        error = _raised(exc_info)
        if not isinstance(error, _NO_FAILURES):
            self.error = type(error).__name__, shortened(str(error))
            self.death = self._death(
                _cause(error), safe_repr(get_pickled_exception(error)), exc_info.traceback
            )
        elif isinstance(error, Ignore):
            self.note("ignored")
        super().on_failure(exc_info, *args, **kwargs)

    def on_retry(self, exc_info: ExceptionInfo) -> None:
        """Note that it is tried again, and when."""
        self.retried = True
        retry = _raised(exc_info)
        reason = (
            {"error": type(retry.exc).__name__, "message": shortened(str(retry.exc))} if retry.exc else {}
        )
        self.note("retrying", **reason, due=_moment(retry.when))
        super().on_retry(exc_info)

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001  # Celery's signature
        """Note a hard time limit: Celery settles the message here and not in ``on_failure``."""
        if not soft:
            self.error = "TimeLimitExceeded", f"it ran for more than {timeout:g} s"
            self.death = self._death("failed", ": ".join(self.error))
        super().on_timeout(soft, timeout)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:  # noqa: FBT001
        """Note that it was too late, or that somebody wanted its end; Celery tells so here alone."""
        self.note("expired" if expired else "cancelled")
        super()._announce_revoked(reason, terminated, signum, expired)

    def note(self, kind: Kind, **data: Any) -> None:
        """Note a step of the task, if it is recorded."""
        if self.journal is not None:
            self.journal.tell(self.tenant, self.request_dict, kind, **data)

    def _death(self, cause: Cause, reason: str, traceback: object = "") -> Death:
        attempts = number_of(self.request_dict.get("retries")) + 1
        return Death(cause, reason, str(traceback or ""), attempts=attempts)


def _raised(exc_info: ExceptionInfo) -> Any:
    """Return what a task raised, without what a process of the pool may have wrapped it in."""
    error = exc_info.exception
    return error.exc if isinstance(error, ExceptionWithTraceback) else error


def _moment(when: datetime | float | None) -> float:
    """Return a retry's time, which Celery has as a time or as seconds from now, in seconds since 1970."""
    return when.timestamp() if isinstance(when, datetime) else time.time() + (when or 0.0)


def _cause(error: BaseException) -> Cause:
    if isinstance(error, Reject):
        return "rejected"
    return "wrong_arguments" if isinstance(error, WrongArguments) else "failed"
