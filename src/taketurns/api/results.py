"""What became of a task: its record, and its result as far as the app's result backend has it."""

import json
import sys
import time
from datetime import datetime
from typing import Any, Final

from celery import Celery
from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend
from celery.exceptions import BackendError
from celery.utils.saferepr import saferepr
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from taketurns.api.schemas.tasks import TaskError, TaskProgress, TaskState, TaskView
from taketurns.arguments import is_too_deep
from taketurns.errors import RegistryUnavailable, TaketurnsError
from taketurns.extension import TakeTurns
from taketurns.records.lifecycle import FINAL, State
from taketurns.records.record import TaskRecord
from taketurns.texts import encodable

_BY_THE_BACKEND: Final[dict[str, State]] = {
    "STARTED": "RUNNING",
    "RETRY": "RETRYING",
    "SUCCESS": "SUCCESS",
    "FAILURE": "FAILURE",
    "REVOKED": "CANCELLED",
    "IGNORED": "IGNORED",
}


class ResultsUnavailable(TaketurnsError, ConnectionError):
    """The app's result backend could not be reached."""


def view_of(record: TaskRecord, state: State) -> TaskView:
    """Return what the record of a task tells, its state being told by somebody who knows the time and the limits."""
    return TaskView(
        task_id=record.id,
        name=record.name,
        tenant=record.tenant,
        queue=record.queue,
        status=state,
        priority=record.priority,
        tags=list(record.tags),
        depends_on=list(record.depends_on),
        submitted_at=record.submitted_at,
        due_at=record.due,
        started_at=record.started_at,
        ended_at=record.ended_at,
        worker=record.worker,
        attempts=record.attempts,
        progress=None
        if record.progress is None
        else TaskProgress(
            done=record.progress.done, total=record.progress.total, note=encodable(record.progress.note)
        ),
        error=None
        if record.error is None
        else TaskError(type=record.error[0], message=encodable(record.error[1])),
    )


def state_of(record: TaskRecord, app: Celery, state: State | None = None) -> TaskState:
    """Return all that is known of a task.

    The result backend is believed where the record has not come to an end: a stock worker keeps no records, and one
    that was killed may not have written its last ones.

    Args:
        record: the task's record.
        app: the app.
        state: the state that the record tells; by default what it says by itself.

    Raises:
        ResultsUnavailable: the result backend can't be reached.
    """
    view = TaskState(**view_of(record, state or record.state(time.time())).model_dump())
    if view.status in FINAL and view.status != "SUCCESS":
        return view
    try:
        if not _keeps_result(app, record.name):
            return view
        meta = app.backend.get_task_meta(record.id)
    except (RedisError, BackendError, OperationalError, OSError, *_errors_of_databases()) as error:
        raise ResultsUnavailable(f"the result backend failed ({error})") from error
    told = _BY_THE_BACKEND.get(meta["status"], "QUEUED" if meta["status"] == "PENDING" else "RUNNING")
    outcome = meta.get("result")
    if view.status not in FINAL and _is_later(told, view.status):
        view.status = told
        if isinstance(outcome, BaseException):
            view.error = TaskError(type=type(outcome).__name__, message=encodable(str(outcome)))
        elif told == "SUCCESS":
            view.error = None
    if view.status == "SUCCESS" and told == "SUCCESS":
        view.result = jsonable(outcome)
    return view


def state_now(record: TaskRecord, turns: TakeTurns) -> TaskState:
    """Return all that is known of a task now, with what its limits and a cancellation say.

    Raises:
        ResultsUnavailable: the result backend can't be reached.
        RegistryUnavailable: Redis is away.
    """
    view = state_of(record, turns.app, turns.tasks.state(record))
    view.cancelling = view.status not in FINAL and turns.registry.cancellations.has(record.id)
    return view


def first_state(*, blocked: bool, due: datetime | None) -> State:
    """Return the state of a task that was submitted just now."""
    return "BLOCKED" if blocked else "DELAYED" if due is not None else "QUEUED"


def remembered_state(turns: TakeTurns, owner: str, task_id: str) -> State | None:
    """Return the state of a task that was submitted before; None: nothing is remembered of it, or Redis is away."""
    try:
        record = turns.tasks.get(owner, task_id)
        return None if record is None else turns.tasks.state(record)
    except RegistryUnavailable:
        return None


def jsonable(value: Any) -> Any:
    """Return ``value`` as what JSON can carry: other types as text, NaN and the infinities as None."""
    try:
        text = json.dumps(value, default=str, ensure_ascii=False)
        plain = json.loads(encodable(text), parse_constant=lambda _: None)
    except (TypeError, ValueError, RecursionError):  # a key that is no text, or a list within itself
        return encodable(saferepr(value))
    return encodable(saferepr(value)) if is_too_deep(plain) else plain


def _is_later(told: State, recorded: State) -> bool:
    """Tell whether a state of the result backend is news to a record that has not come to its end."""
    return told in FINAL or (recorded in ("QUEUED", "DELAYED", "THROTTLED") and told != "QUEUED")


def _errors_of_databases() -> tuple[type[Exception], ...]:
    """Return what SQLAlchemy raises, if this process has it: Celery imports it for a result backend in a database."""
    module = sys.modules.get("sqlalchemy.exc")
    return () if module is None else (module.SQLAlchemyError,)


def _keeps_result(app: Celery, name: str) -> bool:
    # The replies of rpc:// go to the process, and there to the thread, that submitted the task.
    if isinstance(app.backend, DisabledBackend | RPCBackend):
        return False
    task = app.tasks.get(name)
    return not (task is not None and task.ignore_result)
