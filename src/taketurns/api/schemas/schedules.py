"""Schedules of a tenant."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from taketurns.api.schemas.base import Answer, CreatedAt, Request, TaskId, TaskName, TenantId
from taketurns.schedules.schedule import LONGEST_EXPIRY, Missed, Outcome, Priority

ScheduleName = Annotated[str, Field(examples=["nightly-import"])]

CronExpression = Annotated[str, Field(examples=["*/5 * * * *"])]


class _Scheduled(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    task: Annotated[TaskName, Field(min_length=1, max_length=255)]
    """The task's name."""
    args: Annotated[list[Any], Field(examples=[["i-1"]])] = []
    """Its positional arguments."""
    kwargs: Annotated[dict[str, Any], Field(examples=[{"size": 128}])] = {}
    """Its keyword arguments."""
    cron: CronExpression | None = None
    """Minute, hour, day of month, month and day of week, all of which must hold: numbers, lists, ranges and steps,
    and names such as `mon` and `jan`."""
    every: Annotated[str | None, Field(examples=["30s"])] = None
    """An interval instead: a whole number and one of `s`, `m`, `h` and `d`, from `1s` to `366d`."""
    timezone: Annotated[str | None, Field(examples=["Europe/Berlin"])] = None
    """The time zone of `cron`; null: that of the app."""
    missed: Missed = "skip"
    """What becomes of runs that were due while none could be submitted. `skip`: they are left out. `once`: one takes
    the place of all of them. `all`: each is submitted late, the last hundred at most by default."""
    paused: bool = False
    """Whether nothing is submitted at present."""
    priority: Priority | None = None
    """The place of its tasks among the tenant's own; null: the task's own, which is `normal` unless it says
    otherwise."""
    expires: Annotated[float | None, Field(gt=0, le=LONGEST_EXPIRY, examples=[3600.0])] = None
    """Seconds from a run's submission until it is too late to start: its state is EXPIRED then; null: as the task
    says, if it does."""


class ScheduleCreation(Request, _Scheduled):
    """A schedule for the caller's own tenant: either `cron` or `every`."""

    name: Annotated[ScheduleName, Field(min_length=1, max_length=100)]
    """What it is called: `A-Z a-z 0-9 . _ -`, the first one a letter or digit."""


class SchedulePatch(Request, _Scheduled):
    """What to change of a schedule; `cron` takes the place of `every`, and the other way round."""

    task: Annotated[TaskName, Field(min_length=1, max_length=255)] = ""
    """The task's name."""


class ScheduleView(Answer, _Scheduled):
    """A schedule, and what became of it last. Times are seconds since 1970."""

    tenant: TenantId
    name: ScheduleName
    created_at: CreatedAt
    """When it was created."""
    next_due_at: Annotated[float | None, Field(examples=[1767225600.0])]
    """When it is due next; null: it is paused."""
    last_due_at: Annotated[float | None, Field(examples=[1767225540.0])]
    """The due time of its last run; null: there was none."""
    last_task_id: TaskId | None
    """The id of that run's task."""
    last_outcome: Outcome | None
    """What became of that run's submission. `submitted`: RabbitMQ has confirmed it. `refused`: nothing was accepted,
    and `missed` says what follows. `failed`: such a task can't be submitted. `unknown`: nobody heard the end of it,
    and it is not submitted again."""
    last_error: str | None
    """Why it was not submitted."""
    missed_at: Annotated[float | None, Field(examples=[1767225480.0])]
    """The last due time that was left out; null: there was none."""


class ScheduleList(Answer):
    """Schedules, by tenant and name."""

    schedules: list[ScheduleView]
    beat: bool
    """Whether a beat runs; without one nothing is submitted."""
