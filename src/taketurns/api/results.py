"""What became of a task, as far as the app's result backend knows."""

import json
import time
from datetime import timedelta
from typing import Any, Final

from celery import Celery
from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend
from celery.exceptions import BackendError
from celery.utils.saferepr import saferepr
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from taketurns.api.arguments import is_too_deep
from taketurns.api.schemas import TaskError, TaskState, TaskStatus
from taketurns.errors import TaketurnsError
from taketurns.registry import TaskRecord

_STATUSES: Final[dict[str, TaskStatus]] = {
    "PENDING": "QUEUED",
    "RETRY": "RETRY",
    "SUCCESS": "SUCCESS",
    "FAILURE": "FAILURE",
    "REVOKED": "REVOKED",
    "IGNORED": "IGNORED",
}


class ResultsUnavailable(TaketurnsError, ConnectionError):
    """The app's result backend could not be reached."""


def state_of(record: TaskRecord, app: Celery) -> TaskState:
    """Return what is known of a task.

    A state that Celery doesn't know is one that the task set itself, so it runs. Celery calls pending what it knows
    nothing of: that is queued as long as the result could not have expired, and unknown from then on.

    Raises:
        ResultsUnavailable: the result backend can't be reached.
    """
    state = TaskState(
        task_id=record.id,
        name=record.name,
        tenant=record.tenant,
        queue=record.queue,
        submitted_at=record.submitted_at,
        status="UNKNOWN",
    )
    if not _keeps_result(app, record.name):
        return state
    try:
        meta = app.backend.get_task_meta(record.id)
    except (RedisError, BackendError, OperationalError, OSError) as error:
        raise ResultsUnavailable(f"the result backend failed ({error})") from error
    state.status = _STATUSES.get(meta["status"], "RUNNING")
    if state.status == "QUEUED" and time.time() - record.submitted_at > _expiry(app):
        state.status = "UNKNOWN"
    outcome = meta.get("result")
    if state.status == "SUCCESS":
        state.result = jsonable(outcome)
    elif isinstance(outcome, BaseException):
        state.error = TaskError(type=type(outcome).__name__, message=_encodable(str(outcome)))
    return state


def jsonable(value: Any) -> Any:
    """Return ``value`` as what JSON can carry: other types as text, NaN and the infinities as None."""
    try:
        text = json.dumps(value, default=str, ensure_ascii=False)
        plain = json.loads(_encodable(text), parse_constant=lambda _: None)
    except (TypeError, ValueError, RecursionError):  # a key that is no text, or a list within itself
        return _encodable(saferepr(value))
    return _encodable(saferepr(value)) if is_too_deep(plain) else plain


def _encodable(text: str) -> str:
    """Replace lone surrogates, which UTF-8 can't carry."""
    return text.encode("utf-8", "replace").decode()


def _keeps_result(app: Celery, name: str) -> bool:
    # The replies of rpc:// go to the process, and there to the thread, that submitted the task.
    if isinstance(app.backend, DisabledBackend | RPCBackend):
        return False
    task = app.tasks.get(name)
    return not (task is not None and task.ignore_result)


def _expiry(app: Celery) -> float:
    expires = app.conf.result_expires
    if isinstance(expires, timedelta):
        expires = expires.total_seconds()
    return float(expires) if expires else float("inf")
