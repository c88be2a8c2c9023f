"""Many tasks in one request."""

from typing import Annotated

from pydantic import Field

from taketurns.api.schemas.base import Answer, Problem, TaskId, TenantId


class BatchEntry(Answer):
    """What became of one task of a batch."""

    task_id: TaskId
    duplicate: bool
    """Whether an earlier submission had the same idempotency key: this is its task."""
    error: Annotated[str | None, Field(examples=["not_confirmed"])]
    """Why it is not accepted; null: it is. After `not_confirmed` it may run all the same."""


class BatchAccepted(Answer):
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

    errors: list[BatchError] = Field(default=[])
    """What is wrong with each of them; with the first 100."""
