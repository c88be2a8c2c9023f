"""Submitting tasks, what became of them, and cancelling them."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header, Path, Query

from taketurns.api.dependencies import CurrentCaller, Submissions, Turns
from taketurns.api.endpoints import Endpoints
from taketurns.api.errors import ApiError, describe
from taketurns.api.results import state_now, view_of
from taketurns.api.schemas.tasks import TaskAccepted, TaskPage, TasksCancelled, TaskState, TaskSubmission
from taketurns.api.views import cancellation_view
from taketurns.deadletters.moments import read_moment
from taketurns.errors import InvalidInput
from taketurns.extension import TakeTurns
from taketurns.records.lifecycle import State
from taketurns.records.record import TaskRecord
from taketurns.tenant_tasks import MOST, Chosen, chosen_by, total

endpoints = Endpoints("tasks", prefix="/tasks")

TaskIdPath = Annotated[str, Path(max_length=255, description="The `task_id` of its submission.")]
OfState = Annotated[list[State] | None, Query(description="Those in this state; may be repeated.")]
OfName = Annotated[str | None, Query(description="Those of this task.", examples=["shop.tasks.thumbnail"])]
OfTag = Annotated[str | None, Query(description="Those with this tag.", examples=["import"])]
Since = Annotated[
    str | None,
    Query(
        description="Those submitted at this time or later: in ISO 8601, UTC by default; or how long ago.",
        examples=["2h"],
    ),
]
Until = Annotated[
    str | None, Query(description="Those submitted before this time, which is written in the same way.")
]
Terminate = Annotated[
    bool,
    Query(description="Whether to end tasks that run, by ending their process. Workers with threads can't."),
]


async def _chosen(
    state: OfState = None,
    name: OfName = None,
    tag: OfTag = None,
    since: Since = None,
    until: Until = None,
) -> Chosen:
    now = datetime.now(UTC)
    return chosen_by(
        state or (),
        name=name,
        tag=tag,
        since=read_moment(since, now=now, field="since"),
        until=read_moment(until, now=now, field="until"),
    )


Filtered = Annotated[Chosen, Depends(_chosen)]
"""The tasks that the query's filters choose."""


@endpoints.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    summary="Submit a task",
    response_description="The broker has confirmed the task.",
    responses=describe(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
        conflict="Another request with the same idempotency key is under way.",
    ),
)
async def submit(
    submission: TaskSubmission,
    caller: CurrentCaller,
    submitter: Submissions,
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=255, description="The same as in the body.")
    ] = None,
) -> TaskAccepted:
    """Queue a task for the caller's tenant.

    Only tasks that the app exposes can be submitted, with arguments that fit them. After a 503 the task is not
    accepted; with the code `not_confirmed` it may run all the same, so a repeated request may run it twice. A 429
    says that as many of the tenant's tasks wait as may; try again after `Retry-After` seconds.

    With an idempotency key, in the header or the body, a request may be repeated: the answer is the first one's task,
    with `duplicate`. The same key with another task or other arguments is a 422. Without Redis it is a 503.
    """
    if idempotency_key is not None:
        if submission.idempotency_key not in (None, idempotency_key):
            accepted = "one key, in the header Idempotency-Key or in the body"
            raise InvalidInput(submission.idempotency_key, accepted, field="idempotency_key")
        submission = submission.model_copy(update={"idempotency_key": idempotency_key})
    return await submitter.submit(caller.tenant, submission)


@endpoints.get(
    "",
    summary="List tasks",
    responses=describe(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
def list_tasks(
    caller: CurrentCaller,
    turns: Turns,
    chosen: Filtered,
    cursor: Annotated[str | None, Query(description="The `cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Tasks at most.")] = 100,
) -> TaskPage:
    """Return the tasks of the caller's tenant that have all of this, the latest first.

    With a filter a page may be short, or empty, and have a `cursor` all the same. Without results: see each task.
    """
    page = turns.tasks.list(caller.tenant, chosen, cursor=cursor, limit=limit)
    return TaskPage(tasks=[view_of(*each) for each in page.tasks], cursor=page.cursor)


@endpoints.delete(
    "",
    summary="Cancel tasks",
    responses=describe(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
def cancel_tasks(
    caller: CurrentCaller,
    turns: Turns,
    chosen: Filtered,
    *,
    everything: Annotated[
        bool, Query(alias="all", description="All of them; not together with the others.")
    ] = False,
    terminate: Terminate = False,
) -> TasksCancelled:
    """Cancel the tasks of the caller's tenant that have all of this, and have not ended. May be repeated.

    At least one filter is needed, or `all`. What waits does not start any more; what runs goes on unless `terminate`
    is set, and is not tried again.
    """
    if (chosen != Chosen()) == everything:
        raise InvalidInput(
            everything, "state, name, tag, since or until, or all=true without them", field="all"
        )
    return cancellation_view(total(turns.tasks.cancel_all(caller.tenant, chosen, terminate=terminate)))


@endpoints.get(
    "/{task_id}",
    summary="See what became of a task",
    responses=describe(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
def see(task_id: TaskIdPath, caller: CurrentCaller, turns: Turns) -> TaskState:
    """Return a task of the caller's own tenant.

    It is remembered for some days after its last step (`TAKETURNS_RECORDS_TTL`), of each tenant the 10,000 tasks that
    ended last (`TAKETURNS_RECORDS_MAX_TASKS`); its result for as long as the app keeps results. A task that was
    submitted while Redis was away is known from its start on.
    """
    return state_now(_own(turns, caller.tenant, task_id), turns)


@endpoints.delete(
    "/{task_id}",
    summary="Cancel a task",
    responses=describe(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
def cancel(
    task_id: TaskIdPath, caller: CurrentCaller, turns: Turns, *, terminate: Terminate = False
) -> TaskState:
    """Cancel a task of the caller's own tenant, and return what is known of it then. May be repeated.

    A task that waits does not start any more: CANCELLED. One that runs goes on unless `terminate` is set, and is not
    tried again: `cancelling` says so. One that has ended stays as it is.
    """
    record = _own(turns, caller.tenant, task_id)
    turns.tasks.cancel(caller.tenant, [record.id], terminate=terminate)
    return state_now(_own(turns, caller.tenant, task_id), turns)


def _own(turns: TakeTurns, tenant: str, task_id: str) -> TaskRecord:
    record = turns.tasks.get(tenant, task_id)
    if record is None:
        raise ApiError(HTTPStatus.NOT_FOUND, "not_found", "you have no task of this id")
    return record
