"""Dead letters: as the tenant sees its own, and as operators see all."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from taketurns.api.schemas.base import Answer, QueueName, Request, TaskId, TaskName, TenantId
from taketurns.deadletters.letter import Cause

Moment = Annotated[str, Field(examples=["2026-01-31T12:00:00Z", "2h"])]

LetterId = Annotated[str, Field(examples=["0f8b6f5e-6d0f-4d0f-9a53-6a9ad1b8f1c2"])]


class OwnLetterSummary(Answer):
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


class OwnLetterList(Answer):
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


class DeadLetterList(Answer):
    """Dead letters, the oldest first."""

    letters: list[DeadLetterSummary]
    total: int
    """All dead letters that there are, whatever was asked for."""


class ChosenOwnLetters(Request):
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


class OwnLettersReplayed(Answer):
    """Dead letters that are tasks again."""

    replayed: int
    """How many went back to their tenants' queues."""


class DeadLettersReplayed(OwnLettersReplayed):
    """Dead letters that are tasks again."""

    without_tenant: int
    """How many were meant and stay, since nobody knows whose they are."""


class DeadLettersDiscarded(Answer):
    """Dead letters that are gone."""

    discarded: int
    """How many."""
