"""The dead letters, for operators.

Functions that are no coroutines: each call waits for the broker, in one of FastAPI's threads.
"""

from http import HTTPStatus
from typing import Annotated

from fastapi import Query

from taketurns.api.dependencies import Turns
from taketurns.api.endpoints import Endpoints
from taketurns.api.errors import ApiError, describe
from taketurns.api.letters import (
    BUSY,
    RESPONSES,
    LetterPath,
    Listed,
    OfCause,
    OfTask,
    OfTaskId,
    Since,
    Until,
    filtered,
    selection,
    told,
    unknown,
)
from taketurns.api.schemas.letters import (
    ChosenLetters,
    ChosenLettersQuery,
    DeadLetterList,
    DeadLettersDiscarded,
    DeadLettersReplayed,
    DeadLetterView,
)
from taketurns.api.views import letter_summary, letter_view
from taketurns.deadletters.selection import Selection

endpoints = Endpoints("dead letters", prefix="/dead-letters", responses=RESPONSES)

OfTenant = Annotated[str | None, Query(description="Those of this tenant.", examples=["acme"])]
OfOwner = Annotated[str | None, Query(description="Those that this owner has submitted.", examples=["acme"])]


@endpoints.get("", summary="List dead letters")
def list_letters(
    turns: Turns,
    tenant: OfTenant = None,
    owner: OfOwner = None,
    task: OfTask = None,
    task_id: OfTaskId = None,
    cause: OfCause = None,
    since: Since = None,
    until: Until = None,
    limit: Listed = 100,
) -> DeadLetterList:
    """Return the letters that have all of this, the oldest first, without their headers and bodies.

    10,000 letters are looked through in about a second, and nobody else can look meanwhile.
    """
    chosen = ChosenLetters(
        tenant=tenant, owner=owner, task=task, task_id=task_id, cause=cause, since=since, until=until
    )
    found = turns.dead_letters.look(filtered(chosen), limit=limit, brief=True)
    return DeadLetterList(letters=[letter_summary(each) for each in found.letters], total=found.total)


@endpoints.get("/{letter_id}", summary="See a dead letter", responses=describe(HTTPStatus.NOT_FOUND))
def see_letter(letter_id: LetterPath, turns: Turns) -> DeadLetterView:
    """Return a letter with its traceback and the original message."""
    letter = turns.dead_letters.get(letter_id)
    if letter is None:
        raise unknown(letter_id)
    return letter_view(letter)


@endpoints.post(
    "/replay", summary="Replay many dead letters", responses=describe(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
)
def replay_letters(chosen: ChosenLetters, turns: Turns) -> DeadLettersReplayed:
    """Send letters back to their tenants' queues, where they run at once and with all of their retries.

    About a thousand are sent in a second. Should the server die meanwhile, one task may run twice.
    """
    with told("replayed") as progress:
        outcome = turns.dead_letters.replay(selection(chosen), limit=chosen.limit, progress=progress)
    return DeadLettersReplayed(replayed=outcome.done, without_tenant=outcome.without_tenant)


@endpoints.post(
    "/{letter_id}/replay",
    summary="Replay a dead letter",
    responses=describe(HTTPStatus.NOT_FOUND, conflict=f"It is no tenant's and can't be replayed. Or: {BUSY}"),
)
def replay_letter(letter_id: LetterPath, turns: Turns) -> DeadLettersReplayed:
    """Send a letter back to its tenant's queue, where it runs at once and with all of its retries."""
    outcome = turns.dead_letters.replay(Selection(ids={letter_id}))
    if outcome.missing:
        raise unknown(letter_id)
    if outcome.without_tenant:
        message = f"nobody knows whose task the dead letter {letter_id!r} is: it can only be discarded"
        raise ApiError(HTTPStatus.CONFLICT, "without_tenant", message)
    return DeadLettersReplayed(replayed=outcome.done, without_tenant=0)


@endpoints.delete("", summary="Discard many dead letters")
def discard_letters(chosen: Annotated[ChosenLettersQuery, Query()], turns: Turns) -> DeadLettersDiscarded:
    """Throw letters away. At least one of the filters is needed, or `all=true`."""
    with told("discarded") as progress:
        outcome = turns.dead_letters.discard(selection(chosen), limit=chosen.limit, progress=progress)
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
        raise unknown(letter_id)
