"""Recording what became of a task in a result backend that may be away: the worker goes on, the record is missing.

Celery lets such an error out of the task. The pools then do three different things with a task that has run: prefork
calls it failed, solo calls its message no task, and a thread never tells, so that its slot is taken for good.
"""

from __future__ import annotations

import logging
import time
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from celery.app.task import Context
from kombu.exceptions import EncodeError, OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery import Celery

logger = logging.getLogger(__name__)

_RECORDS: Final = frozenset(
    {"mark_as_started", "mark_as_done", "mark_as_failure", "mark_as_retry", "mark_as_revoked"}
)
_LOGGED_EVERY: Final = 10.0
"""Seconds between two log lines of a process: an outage would fill the log, a line for each task."""


class Outcomes:
    """A result backend whose records may fail; all else is the backend's own.

    Args:
        backend: the app's, or the task's own.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._backend, name)
        return _may_fail(value) if name in _RECORDS else value


def report_failure(
    app: Celery,
    headers: Mapping[str, Any],
    payload: Any,
    error: BaseException,
    *,
    queue: str,
    task: Any = None,
) -> None:
    """Record that a task has failed which can't say so itself: its state, its error callbacks, its chord.

    Args:
        app: the app.
        headers: those of its message.
        payload: the message's decoded body.
        error: what it has failed with.
        queue: where it would have run, which is kept with its result if the app wants that (``result_extended``).
        task: the task; by default the one of the app that the headers name.
    """
    request = request_of(headers, payload)
    request.update(delivery_info={"routing_key": queue})
    task = task or app.tasks.get(headers.get("task"))
    backend = Outcomes(app.backend) if task is None else task.backend
    backend.mark_as_failure(headers["id"], error, request=request)


def request_of(headers: Mapping[str, Any], payload: Any) -> Context:
    """Return a task's request as its body would see it, by the headers and the decoded body of its message."""
    args, kwargs, embedded = payload
    return Context(headers, args=args, kwargs=kwargs, **embedded)


def _may_fail(record: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(record)
    def attempt(task_id: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return record(task_id, *args, **kwargs)
        except (EncodeError, OperationalError):
            raise  # the result's own fault, or the broker's: an error callback could not be submitted
        except Exception as error:  # noqa: BLE001  # whatever the client of the app's backend raises
            if _log.is_due(time.monotonic()):
                logger.error(  # noqa: TRY400  # a line, not a page
                    "what became of task %s, and maybe of others, is not in the result backend: %s",
                    task_id,
                    error,
                )
            return None

    return attempt


class _Log:
    """Tells whether a line may be logged; of all threads of the process one a while."""

    def __init__(self) -> None:
        self._next = 0.0

    def is_due(self, now: float) -> bool:
        due = now >= self._next
        if due:
            self._next = now + _LOGGED_EVERY
        return due


_log = _Log()
