"""Tenants, their limits and what becomes of their tasks."""

from typing import Annotated, Any

from pydantic import Field

from taketurns.api.schemas.base import Answer, CreatedAt, QueueName, Request, TenantId

Rate = Annotated[str, Field(examples=["10/60s:5"])]

PriorityRates = Annotated[dict[str, str], Field(examples=[{"high": "10/1s"}])]

TaskRates = Annotated[dict[str, str], Field(examples=[{"shop.tasks.thumbnail": "100/1m"}])]

Tags = Annotated[dict[str, str], Field(examples=[{"plan": "pro"}])]

Metadata = Annotated[dict[str, Any], Field(examples=[{"contact": "ops@acme.example"}])]


class Backlog(Answer):
    """The messages of a tenant's queue, as they are now."""

    ready: int | None
    """Waiting in the queue; null: unknown."""
    unacknowledged: int | None
    """Held or being run by workers; null: unknown."""


class TenantPatch(Request):
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


class TenantLimits(Answer):
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


class TenantPage(Answer):
    """Some of the tenants, in the order of their ids."""

    tenants: list[TenantView]
    total: int
    """All tenants that have a queue or settings of their own, and the tags that were asked for."""
    next_cursor: Annotated[str | None, Field(examples=["acme"])]
    """Pass it as `cursor` for the next page; null: there is no more."""


class LimitStatus(Answer):
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


class Durations(Answer):
    """Some durations, in seconds. What is told is wrong by a twentieth at most."""

    count: int
    """How many there are."""
    p50: Annotated[float, Field(examples=[0.02])]
    """Half of them don't exceed this."""
    p95: Annotated[float, Field(examples=[0.4])]
    """95 % don't."""
    p99: Annotated[float, Field(examples=[1.2])]
    """99 % don't."""


class TenantStatistics(Answer):
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
    """Recorded tasks that wait to start, by priority; as many as `TAKETURNS_RECORDS_MAX_TASKS` allows. Where
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


class TenantPurged(Answer):
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
