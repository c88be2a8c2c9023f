"""Tasks: submitted, seen, cancelled."""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from taketurns.api.schemas.base import Answer, QueueName, Request, TaskId, TaskName, TenantId
from taketurns.records.lifecycle import State
from taketurns.retries import MOST_RETRIES


class TaskSubmission(Request):
    """A task to run for the caller's own tenant."""

    name: Annotated[TaskName, Field(min_length=1, max_length=255)]
    """The task's name."""
    args: list[Any] = Field(default=[], examples=[["i-1"]])
    """Its positional arguments."""
    kwargs: dict[str, Any] = Field(default={}, examples=[{"size": 128}])
    """Its keyword arguments."""
    priority: Literal["low", "normal", "high"] | None = None
    """Its place among the tenant's own tasks; null: the task's own, which is `normal` unless it says otherwise."""
    countdown: Annotated[float | None, Field(ge=0, examples=[60.0])] = None
    """Seconds after which it is to start, 38.7 days at most; not together with `eta`."""
    eta: Annotated[str | None, Field(examples=["2026-01-31T12:00:00Z"])] = None
    """When it is to start: in ISO 8601, UTC by default."""
    expires: Annotated[float | str | None, Field(examples=[3600.0])] = None
    """When it is too late to start: in seconds from now, or as a time in ISO 8601. Its state is then EXPIRED."""
    max_retries: Annotated[int | None, Field(ge=0, le=MOST_RETRIES, examples=[3])] = None
    """How often it is tried again if it fails; null: as often as the task says."""
    time_limit: Annotated[float | None, Field(gt=0, examples=[300.0])] = None
    """Seconds after which it is ended and has failed; null: as the task says. Workers with threads have no limits."""
    soft_time_limit: Annotated[float | None, Field(gt=0, examples=[270.0])] = None
    """Seconds after which SoftTimeLimitExceeded is raised in it: it can tidy up. No more than `time_limit`."""
    tags: list[str] = Field(default=[], examples=[["import", "batch=7"]])
    """20 texts at most, of 1 to 100 characters, by which it can be found."""
    idempotency_key: Annotated[str | None, Field(min_length=1, max_length=255, examples=["order-4711"])] = (
        None
    )
    """With the key of an earlier submission it is that one, and runs nothing; a day by default."""
    depends_on: list[str] = Field(
        default=[], max_length=100, examples=[["5bd3a4b2-9f5c-4a2f-8f0e-3f0c7f1d6a11"]]
    )
    """100 ids at most of the tenant's own tasks: it runs after all of them have succeeded, and a `countdown` begins
    then. If one does not succeed, this one has failed."""


class TaskAccepted(Answer):
    """The broker has confirmed the task."""

    task_id: TaskId
    tenant: TenantId
    queue: QueueName
    """The tenant's queue; outside of the canary, the one that the app's own routes lead to."""
    status: State | None = "QUEUED"
    """BLOCKED: it waits for tasks that it depends on. Of a duplicate it is the first one's state now; null: nothing
    is remembered of that."""
    duplicate: bool = False
    """Whether an earlier submission had the same idempotency key: this is its task."""


class TaskError(Answer):
    """What a task raised."""

    type: Annotated[str, Field(examples=["ValueError"])]
    message: Annotated[str, Field(examples=["no such image"])]


class TaskProgress(Answer):
    """How far a task says it is."""

    done: float
    total: float | None
    """What there is to do; null: it did not say."""
    note: Annotated[str, Field(examples=["page 3"])]


class TaskView(Answer):
    """What is known of a task. Times are seconds since 1970."""

    task_id: TaskId
    name: TaskName
    tenant: TenantId
    """Whose it is: the owner, where owners share a tenant."""
    queue: QueueName
    """Where it was submitted to."""
    status: State
    """QUEUED, also while it waits in a worker; DELAYED until it is due; BLOCKED: it waits for others; THROTTLED:
    queued, and the tenant has no token; RUNNING; RETRYING: it failed and waits to be tried again; SUCCESS; FAILURE:
    it failed for good; CANCELLED; EXPIRED; DEAD: it could not be run; IGNORED: it raised Celery's Ignore."""
    priority: Literal["low", "normal", "high"] | None
    tags: list[str]
    depends_on: list[str]
    """The tasks that it had to wait for when it was submitted."""
    submitted_at: Annotated[float, Field(examples=[1767225600.0])]
    due_at: Annotated[float | None, Field(examples=[1767225600.0])]
    """When it is to start, or to be tried again, at the earliest."""
    started_at: Annotated[float | None, Field(examples=[1767225600.0])]
    """When it started last."""
    ended_at: Annotated[float | None, Field(examples=[1767225600.0])]
    worker: Annotated[str | None, Field(examples=["celery@worker-1"])]
    """Which worker started it last."""
    attempts: int
    """How often it was started."""
    progress: TaskProgress | None
    error: TaskError | None
    """What it raised last; null: nothing, or it has succeeded since."""


class TaskState(TaskView):
    """All that is known of a task."""

    result: JsonValue = None
    """What the task returned, at SUCCESS, for as long as the app keeps results. NaN and the infinities are null."""
    cancelling: bool = False
    """Whether its end was asked for and it has not come to it: what runs goes on, and is not tried again."""


class TaskPage(Answer):
    """Some tasks, the latest first."""

    tasks: list[TaskView]
    cursor: str | None
    """Where the next page begins; null: there is none."""


class TasksCancelled(Answer):
    """What came of cancelling tasks."""

    cancelled: int
    """Tasks that will not start."""
    running: int
    """Tasks that had started, and were not ended: they go on, and are not tried again."""
    terminated: int
    """Tasks that were ended."""
    silent: list[str]
    """Workers that did not answer. What one of them had started goes on."""


class TasksReleased(Answer):
    """What was let go of that waited for a task."""

    tenant: TenantId
    task_id: TaskId
    """The task that they waited for, which now counts as one that has succeeded."""
    released: int
    """How many were let go of."""
