"""The caller's own dead letters. Of another tenant's, and of nobody's, nothing is told: there are none.

Functions that are no coroutines: each call waits for the broker, in one of FastAPI's threads.
"""

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated

from fastapi import Query

from taketurns.api.auth import Caller
from taketurns.api.dependencies import CurrentCaller, Turns
from taketurns.api.endpoints import Endpoints
from taketurns.api.errors import describe
from taketurns.api.letters import (
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
    ChosenOwnLetters,
    ChosenOwnLettersQuery,
    DeadLettersDiscarded,
    OwnLetterList,
    OwnLettersReplayed,
    OwnLetterView,
)
from taketurns.api.views import own_letter_summary, own_letter_view
from taketurns.deadletters.selection import Selection
from taketurns.tenants import validate_tenant

endpoints = Endpoints("me", prefix="/me/dead-letters", responses=RESPONSES)


@endpoints.get("", summary="List your dead letters")
def list_own_letters(
    caller: CurrentCaller,
    turns: Turns,
    task: OfTask = None,
    task_id: OfTaskId = None,
    cause: OfCause = None,
    since: Since = None,
    until: Until = None,
    limit: Listed = 100,
) -> OwnLetterList:
    """Return the caller's letters that have all of this, the oldest first, without their arguments."""
    chosen = ChosenOwnLetters(task=task, task_id=task_id, cause=cause, since=since, until=until)
    # One more tells whether there is more; how many there are in all is of everybody's.
    found = turns.dead_letters.look(_of(caller, filtered(chosen)), limit=limit + 1, brief=True).letters
    return OwnLetterList(
        letters=[own_letter_summary(each) for each in found[:limit]], more=len(found) > limit
    )


@endpoints.get("/{letter_id}", summary="See a dead letter of yours", responses=describe(HTTPStatus.NOT_FOUND))
def see_own_letter(letter_id: LetterPath, caller: CurrentCaller, turns: Turns) -> OwnLetterView:
    """Return a letter of the caller's with the task's arguments. Where the code failed is told to operators only."""
    found = turns.dead_letters.list(_of(caller, Selection(ids={letter_id})), limit=1)
    if not found:
        raise unknown(letter_id)
    return own_letter_view(found[0])


@endpoints.post(
    "/replay",
    summary="Replay many dead letters of yours",
    responses=describe(HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
)
def replay_own_letters(chosen: ChosenOwnLetters, caller: CurrentCaller, turns: Turns) -> OwnLettersReplayed:
    """Send the caller's letters back to its queue, where they run at once and with all of their retries.

    About a thousand are sent in a second. Should the server die meanwhile, one task may run twice.
    """
    with told("replayed") as progress:
        outcome = turns.dead_letters.replay(
            _of(caller, selection(chosen)), limit=chosen.limit, progress=progress
        )
    return OwnLettersReplayed(replayed=outcome.done)


@endpoints.post(
    "/{letter_id}/replay", summary="Replay a dead letter of yours", responses=describe(HTTPStatus.NOT_FOUND)
)
def replay_own_letter(letter_id: LetterPath, caller: CurrentCaller, turns: Turns) -> OwnLettersReplayed:
    """Send a letter of the caller's back to its queue, where it runs at once and with all of its retries."""
    outcome = turns.dead_letters.replay(_of(caller, Selection(ids={letter_id})))
    if outcome.missing:
        raise unknown(letter_id)
    return OwnLettersReplayed(replayed=outcome.done)


@endpoints.delete("", summary="Discard many dead letters of yours")
def discard_own_letters(
    chosen: Annotated[ChosenOwnLettersQuery, Query()], caller: CurrentCaller, turns: Turns
) -> DeadLettersDiscarded:
    """Throw letters of the caller's away. At least one of the filters is needed, or `all=true`."""
    with told("discarded") as progress:
        outcome = turns.dead_letters.discard(
            _of(caller, selection(chosen)), limit=chosen.limit, progress=progress
        )
    return DeadLettersDiscarded(discarded=outcome.done)


@endpoints.delete(
    "/{letter_id}",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Discard a dead letter of yours",
    response_description="It is gone.",
    responses=describe(HTTPStatus.NOT_FOUND),
)
def discard_own_letter(letter_id: LetterPath, caller: CurrentCaller, turns: Turns) -> None:
    """Throw a letter of the caller's away."""
    if turns.dead_letters.discard(_of(caller, Selection(ids={letter_id}))).missing:
        raise unknown(letter_id)


def _of(caller: Caller, selection: Selection) -> Selection:
    """Return what is meant of the caller's letters; the owner is checked, since None would mean everybody's."""
    return replace(selection, owner=validate_tenant(caller.tenant))
