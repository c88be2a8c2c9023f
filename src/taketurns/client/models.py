"""What the API answers. The names and fields are those of its OpenAPI document, which describes them at ``/docs``.

Times are seconds since 1970, durations seconds. A newer API may tell more, which is left out here, and have states
and the like that this version does not know; these are told as they are.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import JsonValue, SkipValidation

State = Literal[
    "QUEUED",
    "DELAYED",
    "BLOCKED",
    "THROTTLED",
    "RUNNING",
    "RETRYING",
    "SUCCESS",
    "FAILURE",
    "CANCELLED",
    "EXPIRED",
    "DEAD",
    "IGNORED",
]
Priority = Literal["low", "normal", "high"]
Missed = Literal["skip", "once", "all"]
Outcome = Literal["submitted", "refused", "unknown", "failed"]
Cause = Literal[
    "failed",
    "rejected",
    "malformed",
    "unknown_task",
    "wrong_arguments",
    "crash_loop",
    "unroutable",
    "dependency",
]


@dataclass(frozen=True, kw_only=True)
class TaskAccepted:
    """A task that the broker has confirmed."""

    task_id: str
    tenant: str
    queue: str
    status: SkipValidation[State] | None = "QUEUED"
    duplicate: bool = False


@dataclass(frozen=True, kw_only=True)
class BatchEntry:
    """One task of a batch: with an ``error``, which is a code, it is not accepted."""

    task_id: str
    duplicate: bool
    error: str | None


@dataclass(frozen=True, kw_only=True)
class BatchAccepted:
    """The tasks of a batch, in the order in which they were given."""

    tenant: str
    accepted: int
    tasks: list[BatchEntry]


@dataclass(frozen=True, kw_only=True)
class TaskError:
    """What a task raised."""

    type: str
    message: str


@dataclass(frozen=True, kw_only=True)
class TaskProgress:
    """How far a task says it is."""

    done: float
    total: float | None
    note: str


@dataclass(frozen=True, kw_only=True)
class TaskView:
    """A task, without its result."""

    task_id: str
    name: str
    tenant: str
    queue: str
    status: SkipValidation[State]
    priority: SkipValidation[Priority] | None
    tags: list[str]
    depends_on: list[str]
    submitted_at: float
    due_at: float | None
    started_at: float | None
    ended_at: float | None
    worker: str | None
    attempts: int
    progress: TaskProgress | None
    error: TaskError | None


@dataclass(frozen=True, kw_only=True)
class TaskState(TaskView):
    """A task, with what it returned."""

    result: JsonValue = None
    cancelling: bool = False


@dataclass(frozen=True, kw_only=True)
class TaskPage:
    """Some tasks, the latest first; without a ``cursor`` there are no more."""

    tasks: list[TaskView]
    cursor: str | None


@dataclass(frozen=True, kw_only=True)
class TasksCancelled:
    """What came of cancelling tasks."""

    cancelled: int
    running: int
    terminated: int
    silent: list[str]


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """The messages of a tenant's queue; None: unknown."""

    ready: int | None
    unacknowledged: int | None


@dataclass(frozen=True, kw_only=True)
class LimitStatus:
    """A rate limit, of the ``tenant`` or of the task that ``scope`` names, and what is left of it."""

    scope: str
    limit: str
    tokens: float
    capacity: int
    refill_per_second: float
    next_token_in: float


@dataclass(frozen=True, kw_only=True)
class Me:
    """The caller's own tenant: its queue and its limits."""

    tenant: str
    queue: str
    has_queue: bool | None
    backlog: Backlog | None
    rate_limit: str | None
    task_rate_limits: dict[str, str]
    weight: float
    max_concurrency: int | None
    burst_when_idle: bool
    max_backlog: int | None
    priority_rate_limits: dict[str, str]
    paused: bool
    owner: str
    operator: bool
    limits: list[LimitStatus]


@dataclass(frozen=True, kw_only=True)
class Durations:
    """Percentiles of ``count`` durations."""

    count: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, kw_only=True)
class TenantStatistics:
    """How many tasks wait, run and have ended, and how long that takes; None: unknown, or there are none."""

    tenant: str
    waiting: int | None
    running: int | None
    completed: int
    failed: int
    created_at: float | None
    share: float | None
    queued: dict[str, int] | None
    delayed: int | None
    waits: Durations | None
    runs: Durations | None
    limits: list[LimitStatus]


@dataclass(frozen=True, kw_only=True)
class ScheduleView:
    """A schedule, and what became of it last."""

    task: str
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    cron: str | None = None
    every: str | None = None
    timezone: str | None = None
    missed: SkipValidation[Missed] = "skip"
    paused: bool = False
    priority: SkipValidation[Priority] | None = None
    expires: float | None = None
    tenant: str
    name: str
    created_at: float | None
    next_due_at: float | None
    last_due_at: float | None
    last_task_id: str | None
    last_outcome: SkipValidation[Outcome] | None
    last_error: str | None
    missed_at: float | None


@dataclass(frozen=True, kw_only=True)
class ScheduleList:
    """The caller's schedules, by name, and whether a beat runs, without which nothing is submitted."""

    schedules: list[ScheduleView]
    beat: bool


@dataclass(frozen=True, kw_only=True)
class OwnLetterSummary:
    """A dead letter of the caller's, without the task's arguments."""

    id: str
    task: str | None
    task_id: str | None
    cause: SkipValidation[Cause] | None
    reason: str
    attempts: int
    replays: int
    died_at: str
    size: int


@dataclass(frozen=True, kw_only=True)
class OwnLetterView(OwnLetterSummary):
    """A dead letter of the caller's; its arguments are None if they can't be read."""

    args: list[Any] | None
    kwargs: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class OwnLetterList:
    """Dead letters of the caller's, the oldest first, and whether there are more."""

    letters: list[OwnLetterSummary]
    more: bool


@dataclass(frozen=True, kw_only=True)
class OwnLettersReplayed:
    """How many dead letters are tasks again."""

    replayed: int


@dataclass(frozen=True, kw_only=True)
class DeadLettersDiscarded:
    """How many dead letters are gone."""

    discarded: int
