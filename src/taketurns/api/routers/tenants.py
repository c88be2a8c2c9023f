"""All tenants and their settings, for operators."""

from bisect import bisect_right
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.convertors import Convertor, register_url_convertor

from taketurns.api.dependencies import TenantPath, Turns, require_operator
from taketurns.api.errors import ApiError, describe
from taketurns.api.refresh import refresh_workers
from taketurns.api.schemas import TenantPage, TenantPatch, TenantView
from taketurns.api.views import look_at, tenant_view
from taketurns.reaper.reaper import Reaper
from taketurns.registry import TenantSettings
from taketurns.tenants import queue_name, tenant_of

router = APIRouter(
    prefix="/tenants",
    tags=["tenants"],
    dependencies=[Depends(require_operator)],
    responses=describe(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
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


register_url_convertor("whole", _Whole())
ONE = "/{tenant:whole}"


@router.get("", summary="List the tenants")
def list_tenants(
    turns: Turns,
    limit: Annotated[int, Query(ge=1, le=1000, description="Tenants on a page, at most.")] = 100,
    cursor: Annotated[str, Query(max_length=128, description="The last page's `next_cursor`.")] = "",
) -> TenantPage:
    """Return the tenants that have a queue, as RabbitMQ lists them now, or settings of their own."""
    queues = {tenant_of(name): queue for name, queue in turns.management.tenant_queues().items()}
    settings = turns.registry.all()
    tenants = sorted({tenant for tenant in queues if tenant is not None} | settings.keys())
    start = bisect_right(tenants, cursor)
    page = tenants[start : start + limit]
    return TenantPage(
        tenants=[tenant_view(each, settings.get(each, TenantSettings()), queues.get(each)) for each in page],
        total=len(tenants),
        next_cursor=page[-1] if start + limit < len(tenants) else None,
    )


@router.get(ONE, summary="See a tenant", responses=describe(HTTPStatus.NOT_FOUND))
def see_tenant(tenant: TenantPath, turns: Turns) -> TenantView:
    """Return a tenant's settings and backlog."""
    queue = turns.management.queue(queue_name(tenant))
    if queue is None and not turns.registry.exists(tenant):
        raise ApiError(HTTPStatus.NOT_FOUND, "not_found", f"there is no tenant {tenant!r}")
    return tenant_view(tenant, turns.registry.get(tenant), queue)


@router.patch(ONE, summary="Change a tenant's settings")
def change_tenant(tenant: TenantPath, patch: TenantPatch, turns: Turns) -> TenantView:
    """Change what is given, and nothing else. It applies at once, to the tasks that wait already too.

    The tenant need not have submitted anything yet. `null` brings a setting's default back.
    """
    given = patch.model_dump(exclude_unset=True)
    defaults = TenantSettings()
    changes = {name: getattr(defaults, name) if value is None else value for name, value in given.items()}
    if changes:
        settings = turns.registry.update(tenant, **changes)
        refresh_workers(turns)
    else:
        settings = turns.registry.get(tenant)
    return look_at(turns, tenant, settings)


@router.delete(
    ONE,
    status_code=HTTPStatus.NO_CONTENT,
    summary="Remove a tenant",
    response_description="Its settings and its queue are gone.",
    responses=describe(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def delete_tenant(tenant: TenantPath, turns: Turns) -> None:
    """Remove a tenant's settings, and its queue if that is empty and no worker runs anything of it.

    With a 409 nothing was removed. The tenant may submit tasks again at any time, and has the default settings then.
    """
    outcome = Reaper(turns).remove(tenant)
    if outcome is None:
        raise ApiError(HTTPStatus.NOT_FOUND, "not_found", f"there is no tenant {tenant!r}")
    if not outcome.remove:
        message = (
            f"the queue {outcome.queue} is not empty or in use, so nothing was removed: {outcome.reason}"
        )
        raise ApiError(HTTPStatus.CONFLICT, "in_use", message)
    refresh_workers(turns)
