"""The dead letters, for operators.

Functions that are no coroutines: each call waits for the broker, in one of FastAPI's threads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import Path, Query

from taketurns.api.dependencies import Turns
from taketurns.api.endpoints import Endpoints
from taketurns.api.errors import RETRY_LATER, ApiError, describe
from taketurns.api.schemas import (
    ChosenLetters,
    ChosenLettersQuery,
    DeadLetterList,
    DeadLettersDiscarded,
    DeadLettersReplayed,
    DeadLetterView,
)
from taketurns.api.views import letter_summary, letter_view
from taketurns.deadletters.letter import Cause
from taketurns.deadletters.moments import read_moment
from taketurns.deadletters.selection import Selection
from taketurns.errors import BrokerUnavailable, InvalidInput
from taketurns.progress import Step

_BUSY = "Somebody else is looking through the dead letters; `Retry-After` says when to try again."

endpoints = Endpoints(
    "dead letters",
    prefix="/dead-letters",
    responses=describe(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        conflict=_BUSY,
        service_unavailable="RabbitMQ is away; `message` says what was done before, if anything was.",
    ),
)

LetterPath = Annotated[str, Path(description="The letter's `id`.")]
OfTenant = Annotated[str | None, Query(description="Those of this tenant.", examples=["acme"])]
OfTask = Annotated[str | None, Query(description="Those of this task.", examples=["shop.tasks.thumbnail"])]
OfTaskId = Annotated[str | None, Query(description="That of the task of this id.")]
OfCause = Annotated[Cause | None, Query(description="Those that died of this.")]
Since = Annotated[
    str | None,
    Query(
        description="Those that died at this time or later: in ISO 8601, UTC by default; or how long ago.",
        examples=["2h"],
    ),
]
Until = Annotated[
    str | None, Query(description="Those that died before this time, which is written in the same way.")
]


@endpoints.get("", summary="List dead letters")
def list_letters(
    turns: Turns,
    tenant: OfTenant = None,
    task: OfTask = None,
    task_id: OfTaskId = None,
    cause: OfCause = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Letters at most.")] = 100,
) -> DeadLetterList:
    """Return the letters that have all of this, the oldest first, without their headers and bodies.

    10,000 letters are looked through in about a second, and nobody else can look meanwhile.
    """
    selection = _filtered(
        ChosenLetters(tenant=tenant, task=task, task_id=task_id, cause=cause, since=since, until=until)
    )
    found = turns.dead_letters.look(selection, limit=limit, brief=True)
    return DeadLetterList(letters=[letter_summary(each) for each in found.letters], total=found.total)


@endpoints.get("/{letter_id}", summary="See a dead letter", responses=describe(HTTPStatus.NOT_FOUND))
def see_letter(letter_id: LetterPath, turns: Turns) -> DeadLetterView:
    """Return a letter with its traceback and the original message."""
    letter = turns.dead_letters.get(letter_id)
    if letter is None:
        raise _unknown(letter_id)
    return letter_view(letter)


@endpoints.post("/replay", summary="Replay many dead letters")
def replay_letters(chosen: ChosenLetters, turns: Turns) -> DeadLettersReplayed:
    """Send letters back to their tenants' queues, where they run at once and with all of their retries.

    About a thousand are sent in a second. Should the server die meanwhile, one task may run twice.
    """
    with _told("replayed") as progress:
        outcome = turns.dead_letters.replay(_selection(chosen), limit=chosen.limit, progress=progress)
    return DeadLettersReplayed(replayed=outcome.done, without_tenant=outcome.without_tenant)


@endpoints.post(
    "/{letter_id}/replay",
    summary="Replay a dead letter",
    responses=describe(
        HTTPStatus.NOT_FOUND, conflict=f"It is no tenant's and can't be replayed. Or: {_BUSY}"
    ),
)
def replay_letter(letter_id: LetterPath, turns: Turns) -> DeadLettersReplayed:
    """Send a letter back to its tenant's queue, where it runs at once and with all of its retries."""
    outcome = turns.dead_letters.replay(Selection(ids={letter_id}))
    if outcome.missing:
        raise _unknown(letter_id)
    if outcome.without_tenant:
        message = f"nobody knows whose task the dead letter {letter_id!r} is: it can only be discarded"
        raise ApiError(HTTPStatus.CONFLICT, "without_tenant", message)
    return DeadLettersReplayed(replayed=outcome.done, without_tenant=0)


@endpoints.delete("", summary="Discard many dead letters")
def discard_letters(chosen: Annotated[ChosenLettersQuery, Query()], turns: Turns) -> DeadLettersDiscarded:
    """Throw letters away. At least one of the filters is needed, or `all=true`."""
    with _told("discarded") as progress:
        outcome = turns.dead_letters.discard(_selection(chosen), limit=chosen.limit, progress=progress)
    return DeadLettersDiscarded(discarded=outcome.done)


@endpoints.delete(
    "/{letter_id}",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Discard a dead letter",
    response_description="It is gone.",
    responses=describe(HTTPStatus.NOT_FOUND),
)
def discard_letter(letter_id: LetterPath, turns: Turns) -> None:
    """Throw a letter away."""
    if turns.dead_letters.discard(Selection(ids={letter_id})).missing:
        raise _unknown(letter_id)


class _Progress:
    """Remembers how many letters were treated."""

    done = 0

    def __call__(self, step: Step) -> None:
        self.done = step.done


@contextmanager
def _told(done: str) -> Iterator[_Progress]:
    """Say how many were treated, should the broker go away after some of them."""
    progress = _Progress()
    try:
        yield progress
    except BrokerUnavailable as error:
        if progress.done == 0:
            raise
        message = (
            f"RabbitMQ went away when {progress.done} dead letters had been {done}; the rest is still there"
        )
        raise ApiError(
            HTTPStatus.SERVICE_UNAVAILABLE, "broker_unavailable", message, headers=RETRY_LATER
        ) from error


def _selection(chosen: ChosenLetters) -> Selection:
    """Return what is meant; who names nothing must say that all are."""
    selection = _filtered(chosen)
    if (selection == Selection()) != chosen.all:
        accepted = "at least one of tenant, task, task_id, cause, since and until; or true, and none of these"
        raise InvalidInput(chosen.all, accepted, field="all")
    return selection


def _filtered(chosen: ChosenLetters) -> Selection:
    now = datetime.now(UTC)
    return Selection(
        tenant=chosen.tenant,
        task=chosen.task,
        task_id=chosen.task_id,
        cause=chosen.cause,
        since=read_moment(chosen.since, now=now, field="since"),
        until=read_moment(chosen.until, now=now, field="until"),
    )


def _unknown(letter_id: str) -> ApiError:
    return ApiError(HTTPStatus.NOT_FOUND, "not_found", f"there is no dead letter {letter_id!r}")
