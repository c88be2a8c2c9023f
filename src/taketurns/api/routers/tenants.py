"""All tenants and their settings, for operators."""

from bisect import bisect_right
from dataclasses import asdict
from http import HTTPStatus
from operator import attrgetter
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import Query, Request, Response
from starlette.convertors import Convertor, register_url_convertor

from taketurns.api.dependencies import TenantPath, Turns
from taketurns.api.endpoints import Endpoints
from taketurns.api.errors import describe
from taketurns.api.routers.tasks import TaskIdPath
from taketurns.api.schemas.tasks import TasksReleased
from taketurns.api.schemas.tenants import (
    TenantCreation,
    TenantPage,
    TenantPatch,
    TenantPurged,
    TenantStatistics,
    TenantView,
)
from taketurns.api.views import statistics, tenant_view
from taketurns.errors import UnknownTenant
from taketurns.explain import Explanation
from taketurns.registry import TenantSettings
from taketurns.registry.tags import read_tags
from taketurns.roster import known_tenant, look_at

endpoints = Endpoints(
    "tenants",
    prefix="/tenants",
    responses=describe(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)


class _Whole(Convertor[str]):
    """Takes the rest of the path as it is.

    What is no tenant id reaches its check this way, slashes included. With Starlette's own convertors, ``acme`` and
    a line feed would be ``acme``.
    """

    regex = r"(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _Rest(_Whole):
    """Takes it unless it ends as the path of an endpoint does that is about a part of a tenant.

    Another method of that path is then not allowed, and not asked for a tenant of this name.
    """

    regex = r"(?s:(?!.*/(?:explain|stats|purge|tasks/[^/]*/release)\Z).*)"


register_url_convertor("whole", _Whole())
register_url_convertor("rest", _Rest())
_ONE: Final = "/{tenant:rest}"
_PART: Final = "/{tenant:whole}"


@endpoints.get("", summary="List the tenants")
def list_tenants(
    turns: Turns,
    tag: Annotated[
        list[str],
        Query(default_factory=list, description="`key=value`; may be repeated, and all must match."),
    ],
    limit: Annotated[int, Query(ge=1, le=1000, description="Tenants on a page, at most.")] = 100,
    cursor: Annotated[str, Query(max_length=128, description="The last page's `next_cursor`.")] = "",
) -> TenantPage:
    """Return the tenants that have a queue, as RabbitMQ lists them now, or settings of their own."""
    known = turns.list(tags=read_tags(tag))
    start = bisect_right(known, cursor, key=attrgetter("tenant"))
    page = known[start : start + limit]
    return TenantPage(
        tenants=[tenant_view(each) for each in page],
        total=len(known),
        next_cursor=page[-1].tenant if start + limit < len(known) else None,
    )


@endpoints.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Create a tenant",
    response_description="The tenant and its queue are there.",
    responses=describe(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, conflict="There is a tenant of this id already."),
)
def create_tenant(creation: TenantCreation, turns: Turns, request: Request, response: Response) -> TenantView:
    """Create a tenant with its queue.

    That is not needed, since a tenant's first task creates it too: it is for one that is to be limited, paused or
    tagged from the beginning, and for a batch of tasks that is a tenant of its own for a while.
    """
    given = creation.model_dump(exclude={"tenant"})
    settings = {name: value for name, value in given.items() if value is not None}
    tenant = turns.create(creation.tenant, **settings)
    response.headers["Location"] = f"{request.url.path}/{quote(tenant)}"
    return tenant_view(look_at(turns, tenant, turns.registry.get(tenant)))


@endpoints.get(
    f"{_PART}/explain",
    summary="See why a tenant's next task has not started",
    responses=describe(HTTPStatus.NOT_FOUND),
)
def explain_tenant(tenant: TenantPath, turns: Turns) -> Explanation:
    """Ask RabbitMQ and every worker, and return what keeps the tenant's next task. It takes less than a second."""
    found = turns.explain(tenant)
    if found.reason == "unknown":
        raise UnknownTenant(tenant)
    return found


@endpoints.get(
    f"{_PART}/stats",
    summary="See how many tasks of a tenant wait, run and have ended",
    responses=describe(HTTPStatus.NOT_FOUND),
)
def see_statistics(tenant: TenantPath, turns: Turns) -> TenantStatistics:
    """Ask RabbitMQ, Redis and every worker. It takes about a second if a worker does not answer."""
    return statistics(turns, tenant)


@endpoints.post(
    f"{_PART}/purge",
    summary="Throw away the tasks of a tenant that wait",
    responses=describe(HTTPStatus.NOT_FOUND, conflict="Its queue is being removed at this moment."),
)
def purge_tenant(tenant: TenantPath, turns: Turns) -> TenantPurged:
    """Throw away what waits in the tenant's queue, and what workers hold of it and have not started.

    Each task is cancelled, with the error `purged`, and what depends on it fails. For 10,000 tasks that takes 10 to
    20 seconds, in which none of the tenant's starts. Running tasks go on. Delayed ones and retries, which wait
    elsewhere, come when they are due.
    """
    return TenantPurged(**asdict(turns.purge(tenant)))


@endpoints.get(_ONE, summary="See a tenant", responses=describe(HTTPStatus.NOT_FOUND))
def see_tenant(tenant: TenantPath, turns: Turns) -> TenantView:
    """Return a tenant's settings and backlog."""
    return tenant_view(known_tenant(turns, tenant))


@endpoints.post(
    f"{_PART}/tasks/{{task_id}}/release",
    summary="Let go of what waits for a task",
)
def release_tasks(tenant: TenantPath, task_id: TaskIdPath, turns: Turns) -> TasksReleased:
    """Run what waits for a task of the tenant as if that had succeeded; for a task that nobody remembers.

    Tasks that wait for others as well go on waiting for these.
    """
    released = turns.tasks.release(tenant, task_id)
    return TasksReleased(tenant=tenant, task_id=task_id, released=released)


@endpoints.patch(
    _ONE, summary="Change a tenant's settings", responses=describe(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
)
def change_tenant(tenant: TenantPath, patch: TenantPatch, turns: Turns) -> TenantView:
    """Change what is given, and nothing else. It applies at once, to the tasks that wait already too.

    The tenant need not have submitted anything yet. `null` brings a setting's default back.
    """
    given = patch.model_dump(exclude_unset=True)
    defaults = TenantSettings()
    changes = {name: getattr(defaults, name) if value is None else value for name, value in given.items()}
    settings = turns.registry.update(tenant, **changes) if changes else turns.registry.get(tenant)
    return tenant_view(look_at(turns, tenant, settings))


@endpoints.delete(
    _ONE,
    status_code=HTTPStatus.NO_CONTENT,
    summary="Remove a tenant",
    response_description="Its settings and its queue are gone.",
    responses=describe(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def delete_tenant(
    tenant: TenantPath,
    turns: Turns,
    *,
    force: Annotated[bool, Query(description="Whether to throw away the tasks that wait.")] = False,
) -> None:
    """Remove a tenant's settings, and its queue if that is empty and no worker runs anything of it.

    With `force` the tasks that wait don't keep it: they are cancelled. Running ones are waited for (five seconds by
    default). With a 409 nothing was removed. The tenant may submit tasks again at any time, and has the default
    settings then.
    """
    turns.remove(tenant, force=force)
