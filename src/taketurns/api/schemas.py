"""What the API takes and gives. The docstrings are the descriptions in its OpenAPI document."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from taketurns.deadletters.letter import Cause
from taketurns.records.lifecycle import State
from taketurns.retries import MOST_RETRIES
from taketurns.schedules.schedule import LONGEST_EXPIRY, Missed, Outcome, Priority
from taketurns.worker_list import WorkerInfo

TaskId = Annotated[str, Field(examples=["5bd3a4b2-9f5c-4a2f-8f0e-3f0c7f1d6a11"])]
TaskName = Annotated[str, Field(examples=["shop.tasks.thumbnail"])]
TenantId = Annotated[str, Field(examples=["acme"])]
Moment = Annotated[str, Field(examples=["2026-01-31T12:00:00Z", "2h"])]
LetterId = Annotated[str, Field(examples=["0f8b6f5e-6d0f-4d0f-9a53-6a9ad1b8f1c2"])]
QueueName = Annotated[str, Field(examples=["usersequence_acme"])]
Rate = Annotated[str, Field(examples=["10/60s:5"])]
PriorityRates = Annotated[dict[str, str], Field(examples=[{"high": "10/1s"}])]
TaskRates = Annotated[dict[str, str], Field(examples=[{"shop.tasks.thumbnail": "100/1m"}])]
CreatedAt = Annotated[float | None, Field(examples=[1767225600.0])]
ScheduleName = Annotated[str, Field(examples=["nightly-import"])]
CronExpression = Annotated[str, Field(examples=["*/5 * * * *"])]
Tags = Annotated[dict[str, str], Field(examples=[{"plan": "pro"}])]
Metadata = Annotated[dict[str, Any], Field(examples=[{"contact": "ops@acme.example"}])]


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class _Request(BaseModel):
    # Strict, so that "yes" is no boolean and "2" no number: what was accepted is what was meant.
    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid", strict=True)


class Problem(_Answer):
    """The one shape of every error."""

    error: Annotated[str, Field(examples=["invalid_input"])]
    """A short code that programs may compare."""
    message: Annotated[
        str, Field(examples=["rate_limit: 'x' is not valid; accepted is count/period[:burst]"])
    ]
    """What was wrong, and what would be accepted or helps."""
    field: Annotated[str | None, Field(examples=["rate_limit"])] = None
    """The offending field, if it is one."""


class TaskSubmission(_Request):
    """A task to run for the caller's own tenant."""

    name: Annotated[TaskName, Field(min_length=1, max_length=255)]
    """The task's name."""
    args: Annotated[list[Any], Field(examples=[["i-1"]])] = []
    """Its positional arguments."""
    kwargs: Annotated[dict[str, Any], Field(examples=[{"size": 128}])] = {}
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
    tags: Annotated[list[str], Field(examples=[["import", "batch=7"]])] = []
    """20 texts at most, of 1 to 100 characters, by which it can be found."""
    idempotency_key: Annotated[str | None, Field(min_length=1, max_length=255, examples=["order-4711"])] = (
        None
    )
    """With the key of an earlier submission it is that one, and runs nothing; a day by default."""
    depends_on: Annotated[
        list[str], Field(max_length=100, examples=[["5bd3a4b2-9f5c-4a2f-8f0e-3f0c7f1d6a11"]])
    ] = []
    """100 ids at most of the tenant's own tasks: it runs after all of them have succeeded, and a `countdown` begins
    then. If one does not succeed, this one has failed."""


class TaskAccepted(_Answer):
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


class BatchEntry(_Answer):
    """What became of one task of a batch."""

    task_id: TaskId
    duplicate: bool
    """Whether an earlier submission had the same idempotency key: this is its task."""
    error: Annotated[str | None, Field(examples=["not_confirmed"])]
    """Why it is not accepted; null: it is. After `not_confirmed` it may run all the same."""


class BatchAccepted(_Answer):
    """The broker has answered for each task of a batch."""

    tenant: TenantId
    accepted: int
    """How many of them it has confirmed."""
    tasks: list[BatchEntry]
    """All of them, in the order in which they were given."""


class BatchError(Problem):
    """What is wrong with one task of a batch."""

    index: int
    """Its place, counted from 0."""


class BatchProblem(Problem):
    """A batch that was not submitted, since some of its tasks can't be."""

    errors: list[BatchError] = []
    """What is wrong with each of them; with the first 100."""


class TaskError(_Answer):
    """What a task raised."""

    type: Annotated[str, Field(examples=["ValueError"])]
    message: Annotated[str, Field(examples=["no such image"])]


class TaskProgress(_Answer):
    """How far a task says it is."""

    done: float
    total: float | None
    """What there is to do; null: it did not say."""
    note: Annotated[str, Field(examples=["page 3"])]


class TaskView(_Answer):
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


class TaskPage(_Answer):
    """Some tasks, the latest first."""

    tasks: list[TaskView]
    cursor: str | None
    """Where the next page begins; null: there is none."""


class TasksCancelled(_Answer):
    """What came of cancelling tasks."""

    cancelled: int
    """Tasks that will not start."""
    running: int
    """Tasks that had started, and were not ended: they go on, and are not tried again."""
    terminated: int
    """Tasks that were ended."""
    silent: list[str]
    """Workers that did not answer. What one of them had started goes on."""


class Backlog(_Answer):
    """The messages of a tenant's queue, as they are now."""

    ready: int | None
    """Waiting in the queue; null: unknown."""
    unacknowledged: int | None
    """Held or being run by workers; null: unknown."""


class TenantPatch(_Request):
    """The settings to change: only what is given changes, and null brings the default back."""

    rate_limit: Rate | None = None
    """Starts of tasks in a period: `count/period[:burst]`, such as `10/60s:5`, `4000/3h` or `1/1d`."""
    weight: Annotated[float | None, Field(examples=[2.0])] = None
    """A finite number above zero."""
    max_concurrency: Annotated[int | None, Field(examples=[4])] = None
    """Tasks that may run at once, at least 1."""
    burst_when_idle: bool | None = None
    """Whether more of them may run while nobody else waits."""
    max_backlog: Annotated[int | None, Field(examples=[10_000])] = None
    """Tasks that may wait in its queue, at least 1; more are refused with a 429."""
    priority_rate_limits: PriorityRates | None = None
    """Rates for the priorities `low`, `normal` and `high`. Takes the place of all of them."""
    task_rate_limits: TaskRates | None = None
    """Rates of single tasks, by their names. Takes the place of all of them."""
    paused: bool | None = None
    """Whether to hold its queued tasks back."""
    tags: Tags | None = None
    """Keys (1 to 63 characters of `A-Z a-z 0-9 . _ -`, the first one a letter or digit) and values (1 to 256
    characters), 64 at most. Takes the place of all tags."""
    metadata: Metadata | None = None
    """Any JSON object, 16 KiB at most. Takes the place of all metadata."""


class TenantCreation(TenantPatch):
    """A tenant and its first settings; null, or what is not given, is the default."""

    tenant: TenantId | None = None
    """Its id: 1 to 128 characters of `A-Z a-z 0-9 . _ @ : + -`, the first one a letter or digit. null: a new one,
    `batch_` and a UUID."""


class TenantLimits(_Answer):
    """A tenant: its queue and its limits."""

    tenant: TenantId
    queue: QueueName
    has_queue: bool | None
    """Whether the queue is there at present; null: unknown."""
    backlog: Backlog | None
    """null: unknown."""
    rate_limit: Rate | None
    """Starts of tasks in a period; null: the default."""
    task_rate_limits: TaskRates
    """The same for single tasks, by their names."""
    weight: Annotated[float, Field(examples=[1.0])]
    """The share of the turns, relative to the other tenants."""
    max_concurrency: int | None
    """Tasks that may run at once; null: any."""
    burst_when_idle: bool
    """Whether more of them may run while nobody else waits."""
    max_backlog: int | None
    """Tasks that may wait in the queue; null: the default."""
    priority_rate_limits: PriorityRates
    """Starts of tasks of a priority in a period."""
    paused: bool
    """Whether its queued tasks are held back."""


class TenantView(TenantLimits):
    """A tenant as its operators see it."""

    tags: Tags
    """What `GET /tenants?tag=key=value` finds it by."""
    metadata: Metadata
    """What its operators keep with it."""
    completed: int
    """Its tasks that have ended well, as the workers have counted."""
    failed: int
    """Its tasks that have become dead letters, those that were replayed or discarded included."""
    created_at: CreatedAt
    """When it was created or first heard of, in seconds since 1970; null: unknown."""


class TenantPage(_Answer):
    """Some of the tenants, in the order of their ids."""

    tenants: list[TenantView]
    total: int
    """All tenants that have a queue or settings of their own, and the tags that were asked for."""
    next_cursor: Annotated[str | None, Field(examples=["acme"])]
    """Pass it as `cursor` for the next page; null: there is no more."""


class LimitStatus(_Answer):
    """A rate limit and what is left of it now."""

    scope: Annotated[str, Field(examples=["tenant"])]
    """`tenant`, or the task's name."""
    limit: Rate
    tokens: float
    """Tasks that could start at once."""
    capacity: int
    """The most that `tokens` can be."""
    refill_per_second: float
    next_token_in: float
    """Seconds until the next task may start; 0: now."""


class Me(TenantLimits):
    """The caller's own tenant. Its tags and metadata are the operators' own."""

    owner: TenantId
    """Who the caller is; another one than the tenant if that is shared with others."""
    operator: bool
    """Whether the caller is an operator."""
    limits: list[LimitStatus]
    """Every rate limit that applies."""


class Durations(_Answer):
    """Some durations, in seconds. What is told is wrong by a twentieth at most."""

    count: int
    """How many there are."""
    p50: Annotated[float, Field(examples=[0.02])]
    """Half of them don't exceed this."""
    p95: Annotated[float, Field(examples=[0.4])]
    """95 % don't."""
    p99: Annotated[float, Field(examples=[1.2])]
    """99 % don't."""


class TenantStatistics(_Answer):
    """How many tasks of a tenant wait, run and have ended, and what is left of its rates."""

    tenant: TenantId
    waiting: int | None
    """Tasks that are to run as soon as may be, in the queue or in the hand of a worker; not the delayed ones. null:
    RabbitMQ did not tell in time."""
    running: int | None
    """Tasks that run. If a worker does not answer, what is in the hands counts as running too."""
    completed: int
    """Tasks that have ended well, as the workers have counted. One that is revoked, expired or tried again does not
    count."""
    failed: int
    """Tasks that have become dead letters, those that were replayed or discarded included."""
    created_at: CreatedAt
    """When it was created or first heard of, in seconds since 1970; null: unknown."""
    share: Annotated[float | None, Field(examples=[0.25])]
    """The part of all tasks that run which are its own, 0 to 1; null: it is not known what runs."""
    queued: Annotated[dict[str, int] | None, Field(examples=[{"low": 0, "normal": 12, "high": 1}])] = None
    """Recorded tasks that wait to start, by priority, among the latest 10,000 (`TAKETURNS_RECORDS_MAX_TASKS`). Where
    owners share a tenant, this and the next three are the caller's own in `/me/stats`, and null elsewhere."""
    delayed: int | None = None
    """Tasks that wait for their time, or to be tried again."""
    waits: Durations | None = None
    """How long tasks had waited that started in the last half hour to hour, from the moment at which they could have;
    null: none has."""
    runs: Durations | None = None
    """How long tasks ran that ended well in that time; null: none has."""
    limits: list[LimitStatus]
    """Every rate limit that applies."""


class TenantPurged(_Answer):
    """What became of a tenant's tasks."""

    tenant: TenantId
    purged: int
    """Tasks that waited and are gone."""
    running: int
    """Tasks that go on, on the workers that answered."""
    silent: list[str]
    """Workers that did not answer, by name. What one of them holds is not gone: the tasks of a turn at most."""
    due_until: Annotated[float | None, Field(examples=[1767225600.0])]
    """When the last of its delayed tasks and retries is due, which wait elsewhere and come all the same, in seconds
    since 1970; null: none is known."""


class TasksReleased(_Answer):
    """What was let go of that waited for a task."""

    tenant: TenantId
    task_id: TaskId
    """The task that they waited for, which now counts as one that has succeeded."""
    released: int
    """How many were let go of."""


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


class ScheduleCreation(_Request, _Scheduled):
    """A schedule for the caller's own tenant: either `cron` or `every`."""

    name: Annotated[ScheduleName, Field(min_length=1, max_length=100)]
    """What it is called: `A-Z a-z 0-9 . _ -`, the first one a letter or digit."""


class SchedulePatch(_Request, _Scheduled):
    """What to change of a schedule; `cron` takes the place of `every`, and the other way round."""

    task: Annotated[TaskName, Field(min_length=1, max_length=255)] = ""
    """The task's name."""


class ScheduleView(_Answer, _Scheduled):
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


class ScheduleList(_Answer):
    """Schedules, by tenant and name."""

    schedules: list[ScheduleView]
    beat: bool
    """Whether a beat runs; without one nothing is submitted."""


class OwnLetterSummary(_Answer):
    """A task of the caller's that failed for good, or a message that can never run."""

    id: LetterId
    """Its name among the dead letters."""
    task: TaskName | None
    """The task's name; null: it has none."""
    task_id: TaskId | None
    """The task's id; null: it has none."""
    cause: Cause | None
    """`failed`: the task raised an error, or exceeded its hard time limit, and has no retry left. `rejected`: it
    raised Celery's Reject. `malformed`: it can't be decoded, or is no task. `unknown_task`, `wrong_arguments`: the
    workers know no such task, or it takes others. `crash_loop`: whatever started it died each time. `unroutable`: it
    was published for a queue that is no tenant's. null: somebody else put it there."""
    reason: Annotated[str, Field(examples=["ValueError('no such image')"])]
    """The same in words."""
    attempts: int
    """How often the task was started; 0: it never was."""
    replays: int
    """How often it was sent back to its tenant's queue before."""
    died_at: Annotated[str, Field(examples=["2026-01-01T00:00:00+00:00"])]
    """When; empty: unknown."""
    size: int
    """The bytes of its body."""


class OwnLetterView(OwnLetterSummary):
    """What a tenant may know of a dead letter of its own: no traceback and no headers, which are the operators'."""

    model_config = ConfigDict(extra="forbid")  # or mypy takes `kwargs` for what else it may be made of

    args: Annotated[list[Any] | None, Field(examples=[["i-1"]])]
    """The task's positional arguments; null: the message is no task's, or can't be read."""
    kwargs: Annotated[dict[str, Any] | None, Field(examples=[{"size": 128}])]
    """Its keyword arguments; null in the same cases."""


class OwnLetterList(_Answer):
    """Dead letters of the caller's, the oldest first."""

    letters: list[OwnLetterSummary]
    more: bool
    """Whether there are more that were asked for, beyond the `limit`."""


class DeadLetterSummary(OwnLetterSummary):
    """A task that failed for good, or a message that can never run."""

    tenant: TenantId | None
    """Whose task it was; null: unknown, and then it can only be discarded."""
    owner: TenantId | None
    """Who submitted it; another one than the tenant if that is shared with others."""
    queue: QueueName
    """The tenant queue that it came from, or the routing key that led nowhere; empty: unknown."""


class DeadLetterView(DeadLetterSummary):
    """All that is known of a dead letter."""

    traceback: str
    """Where the task failed; empty: it did not run."""
    headers: dict[str, Any]
    """The original message's headers; times and whatever else JSON lacks are text."""
    body: Annotated[str, Field(examples=['[["i-1"], {}, {}]'])]
    """The original message's body; for a task the JSON `[args, kwargs, options]`. What is no UTF-8 is replaced."""


class DeadLetterList(_Answer):
    """Dead letters, the oldest first."""

    letters: list[DeadLetterSummary]
    total: int
    """All dead letters that there are, whatever was asked for."""


class ChosenOwnLetters(_Request):
    """Which dead letters of the caller's: those that have all of this. At least one of the filters, or `all`."""

    task: TaskName | None = None
    """Those of this task."""
    task_id: TaskId | None = None
    """That of the task of this id."""
    cause: Cause | None = None
    """Those that died of this."""
    since: Moment | None = None
    """Those that died at this time or later: in ISO 8601, UTC by default; or how long ago."""
    until: Moment | None = None
    """Those that died before this time, which is written in the same way."""
    all: bool = False
    """Whether really all are meant; not together with the others."""
    limit: Annotated[int | None, Field(ge=1, examples=[100])] = None
    """How many at most, the oldest first; null: any number."""


class ChosenOwnLettersQuery(ChosenOwnLetters):
    """The same in a query, where everything is text."""

    model_config = ConfigDict(strict=False)


class ChosenLetters(ChosenOwnLetters):
    """Which dead letters: those that have all of this. At least one of the filters, or `all`."""

    tenant: TenantId | None = None
    """Those of this tenant."""
    owner: TenantId | None = None
    """Those that this owner has submitted."""


class ChosenLettersQuery(ChosenLetters):
    """The same in a query, where everything is text."""

    model_config = ConfigDict(strict=False)


class OwnLettersReplayed(_Answer):
    """Dead letters that are tasks again."""

    replayed: int
    """How many went back to their tenants' queues."""


class DeadLettersReplayed(OwnLettersReplayed):
    """Dead letters that are tasks again."""

    without_tenant: int
    """How many were meant and stay, since nobody knows whose they are."""


class DeadLettersDiscarded(_Answer):
    """Dead letters that are gone."""

    discarded: int
    """How many."""


class WorkerList(_Answer):
    """The workers that serve tenants, by name."""

    workers: list[WorkerInfo]


class Check(_Answer):
    """How a server that the API needs is doing."""

    status: Literal["ok", "error"]
    message: str = ""


class Live(_Answer):
    """The process runs."""

    status: Literal["alive"] = "alive"


class Ready(_Answer):
    """Whether tasks can be accepted. `degraded`: they are, but a server that other things need is away."""

    status: Literal["ready", "degraded", "unavailable"]
    broker: Check
    """Without it nothing can be accepted."""
    management: Check
    """Without it no backlog can be told."""
    redis: Check
    """Without it no settings, limits and task states can be told."""
