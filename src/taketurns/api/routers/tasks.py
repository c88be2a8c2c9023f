"""Submitting tasks, and what became of them."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Path

from taketurns.api.dependencies import CurrentCaller, Submissions, Turns
from taketurns.api.endpoints import Endpoints
from taketurns.api.errors import ApiError, describe
from taketurns.api.results import state_of
from taketurns.api.schemas import TaskAccepted, TaskState, TaskSubmission

endpoints = Endpoints("tasks", prefix="/tasks")

TaskIdPath = Annotated[str, Path(max_length=255, description="The `task_id` of its submission.")]


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
    ),
)
async def submit(submission: TaskSubmission, caller: CurrentCaller, submitter: Submissions) -> TaskAccepted:
    """Queue a task for the caller's tenant.

    Only tasks that the app exposes can be submitted, with arguments that fit them. After a 503 the task is not
    accepted; with the code `not_confirmed` it may run all the same, so a repeated request may run it twice. A 429
    says that as many of the tenant's tasks wait as may; try again after `Retry-After` seconds.
    """
    return await submitter.submit(caller.tenant, submission)


@endpoints.get(
    "/{task_id}",
    summary="See what became of a task",
    responses=describe(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
def see(task_id: TaskIdPath, caller: CurrentCaller, turns: Turns) -> TaskState:
    """Return a task of the caller's own tenant.

    It is remembered for some days (`TAKETURNS_API_TASK_RECORD_TTL`); its result for as long as the app keeps
    results. A task that was submitted while Redis was away is unknown here, and runs like any other.
    """
    record = turns.registry.task(task_id)
    if record is None or record.tenant != caller.tenant:
        raise ApiError(HTTPStatus.NOT_FOUND, "not_found", "you have no task of this id")
    return state_of(record, turns.app)
