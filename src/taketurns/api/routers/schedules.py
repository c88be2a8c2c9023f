"""A tenant's schedules.

What runs without being exposed is the operators' affair: over HTTP there is no schedule of such a task.
"""

from http import HTTPStatus
from typing import Annotated

from fastapi import Path, Request, Response

from taketurns.api.dependencies import CurrentCaller, Turns
from taketurns.api.endpoints import Endpoints
from taketurns.api.errors import ApiError, describe
from taketurns.api.exposed import exposed_task
from taketurns.api.schemas.schedules import ScheduleCreation, ScheduleList, SchedulePatch, ScheduleView
from taketurns.api.views import schedule_view
from taketurns.errors import UnknownSchedule, UnknownTask
from taketurns.extension import TakeTurns
from taketurns.schedules import Schedule

endpoints = Endpoints(
    "schedules",
    prefix="/schedules",
    responses=describe(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)

NamePath = Annotated[str, Path(description="The schedule's name.", examples=["nightly-import"])]


@endpoints.get("", summary="List the schedules")
def list_schedules(caller: CurrentCaller, turns: Turns) -> ScheduleList:
    """Return the schedules of the caller's tenant, by their names."""
    found = (each for each in turns.schedules.list(caller.tenant) if _is_exposed(turns, each))
    return ScheduleList(schedules=list(map(schedule_view, found)), beat=turns.schedules.beat() is not None)


@endpoints.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Create a schedule",
    responses=describe(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        conflict="There is a schedule of this name already, or there are as many as the tenant may have.",
    ),
)
def create_schedule(
    creation: ScheduleCreation, caller: CurrentCaller, turns: Turns, request: Request, response: Response
) -> ScheduleView:
    """Have a task submitted for the caller's tenant again and again, by the clock or at an interval.

    Only tasks that the app exposes can be scheduled, with arguments that fit them. The first run is due at the end of
    the first interval.
    """
    _check_exposed(turns, creation.task)
    schedule = turns.schedules.create(caller.tenant, **creation.model_dump())
    response.headers["Location"] = f"{request.url.path}/{schedule.name}"
    return schedule_view(schedule)


@endpoints.get("/{name}", summary="See a schedule", responses=describe(HTTPStatus.NOT_FOUND))
def see_schedule(name: NamePath, caller: CurrentCaller, turns: Turns) -> ScheduleView:
    """Return a schedule, when it is due, and what became of its last run."""
    return schedule_view(_own(turns, caller.tenant, name))


@endpoints.patch(
    "/{name}",
    summary="Change a schedule",
    responses=describe(HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
)
def change_schedule(
    name: NamePath, patch: SchedulePatch, caller: CurrentCaller, turns: Turns
) -> ScheduleView:
    """Change what is given, and nothing else. With another timing, or resumed, it is due anew from now on."""
    schedule = _own(turns, caller.tenant, name)
    changes = patch.model_dump(exclude_unset=True)
    if "task" in changes:
        _check_exposed(turns, changes["task"])
    return schedule_view(turns.schedules.update(caller.tenant, name, **changes) if changes else schedule)


@endpoints.delete(
    "/{name}",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Remove a schedule",
    response_description="It is gone.",
    responses=describe(HTTPStatus.NOT_FOUND),
)
def remove_schedule(name: NamePath, caller: CurrentCaller, turns: Turns) -> None:
    """Remove a schedule. The tasks that it has submitted run."""
    turns.schedules.remove(caller.tenant, _own(turns, caller.tenant, name).name)


def _check_exposed(turns: TakeTurns, task: str) -> None:
    try:
        exposed_task(turns.app, task)
    except UnknownTask as error:
        message = f"task: no task {task!r} can be scheduled here"
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "unknown_task", message, field="task") from error


def _own(turns: TakeTurns, tenant: str, name: str) -> Schedule:
    schedule = turns.schedules.get(tenant, name)
    if not _is_exposed(turns, schedule):
        raise UnknownSchedule(tenant, name)
    return schedule


def _is_exposed(turns: TakeTurns, schedule: Schedule) -> bool:
    try:
        exposed_task(turns.app, schedule.task)
    except UnknownTask:
        return False
    return True
