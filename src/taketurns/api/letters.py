"""What the endpoints of dead letters share, those of the operators and those of a tenant."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Path, Query

from taketurns.api.errors import RETRY_LATER, ApiError, describe
from taketurns.api.schemas.letters import ChosenLetters, ChosenOwnLetters
from taketurns.deadletters.letter import Cause
from taketurns.deadletters.moments import read_moment
from taketurns.deadletters.selection import Selection
from taketurns.errors import BrokerUnavailable, InvalidInput
from taketurns.progress import Step

BUSY: Final = "Somebody else is looking through the dead letters; `Retry-After` says when to try again."

RESPONSES: Final[dict[int | str, dict[str, Any]]] = describe(
    HTTPStatus.UNPROCESSABLE_ENTITY,
    conflict=BUSY,
    service_unavailable="RabbitMQ is away; `message` says what was done before, if anything was.",
)
"""How each of the endpoints may answer."""

LetterPath = Annotated[str, Path(description="The letter's `id`.")]
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
Listed = Annotated[int, Query(ge=1, le=1000, description="Letters at most.")]


class _Progress:
    """Remembers how many letters were treated."""

    done = 0

    def __call__(self, step: Step) -> None:
        self.done = step.done


@contextmanager
def told(done: str) -> Iterator[_Progress]:
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


def selection(chosen: ChosenOwnLetters) -> Selection:
    """Return what is meant; who names nothing must say that all are.

    Raises:
        InvalidInput: neither a filter is named nor all are meant, or both; or a filter is not valid.
    """
    found = filtered(chosen)
    if (found == Selection()) != chosen.all:
        *names, last = (name for name in type(chosen).model_fields if name not in {"all", "limit"})
        accepted = f"at least one of {', '.join(names)} and {last}; or true, and none of these"
        raise InvalidInput(chosen.all, accepted, field="all")
    return found


def filtered(chosen: ChosenOwnLetters) -> Selection:
    """Return what the filters mean, whether there are any or not.

    Raises:
        InvalidInput: a filter is not valid.
    """
    now = datetime.now(UTC)
    return Selection(
        tenant=chosen.tenant if isinstance(chosen, ChosenLetters) else None,
        owner=chosen.owner if isinstance(chosen, ChosenLetters) else None,
        task=chosen.task,
        task_id=chosen.task_id,
        cause=chosen.cause,
        since=read_moment(chosen.since, now=now, field="since"),
        until=read_moment(chosen.until, now=now, field="until"),
    )


def unknown(letter_id: str) -> ApiError:
    """Return the answer that there is no such letter, or none of the caller's."""
    return ApiError(HTTPStatus.NOT_FOUND, "not_found", f"there is no dead letter {letter_id!r}")
