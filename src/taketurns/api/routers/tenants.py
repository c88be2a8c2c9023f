"""All tenants and their settings, for operators."""

from bisect import bisect_right
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.convertors import Convertor, register_url_convertor

from taketurns.api.dependencies import TenantPath, Turns, require_operator
from taketurns.api.errors import ApiError, describe
from taketurns.api.schemas import TenantPage, TenantPatch, TenantView
from taketurns.api.views import KnownTenants, known_tenant, look_at
from taketurns.explain import Explanation
from taketurns.reaper.reaper import Reaper
from taketurns.registry import TenantSettings
from taketurns.registry.tags import read_tags

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
    tag: Annotated[
        list[str],
        Query(default_factory=list, description="`key=value`; may be repeated, and all must match."),
    ],
    limit: Annotated[int, Query(ge=1, le=1000, description="Tenants on a page, at most.")] = 100,
    cursor: Annotated[str, Query(max_length=128, description="The last page's `next_cursor`.")] = "",
) -> TenantPage:
    """Return the tenants that have a queue, as RabbitMQ lists them now, or settings of their own."""
    known = KnownTenants(turns, tags=read_tags(tag))
    start = bisect_right(known.names, cursor)
    page = known.names[start : start + limit]
    return TenantPage(
        tenants=[known.view(each) for each in page],
        total=len(known.names),
        next_cursor=page[-1] if start + limit < len(known.names) else None,
    )


@router.get(
    f"{ONE}/explain",
    summary="See why a tenant's next task has not started",
    responses=describe(HTTPStatus.NOT_FOUND),
)
def explain_tenant(tenant: TenantPath, turns: Turns) -> Explanation:
    """Ask RabbitMQ and every worker, and return what keeps the tenant's next task. It takes less than a second."""
    found = turns.explain(tenant)
    if found.reason == "unknown":
        raise _unknown(tenant)
    return found


@router.get(ONE, summary="See a tenant", responses=describe(HTTPStatus.NOT_FOUND))
def see_tenant(tenant: TenantPath, turns: Turns) -> TenantView:
    """Return a tenant's settings and backlog."""
    view = known_tenant(turns, tenant)
    if view is None:
        raise _unknown(tenant)
    return view


@router.patch(ONE, summary="Change a tenant's settings")
def change_tenant(tenant: TenantPath, patch: TenantPatch, turns: Turns) -> TenantView:
    """Change what is given, and nothing else. It applies at once, to the tasks that wait already too.

    The tenant need not have submitted anything yet. `null` brings a setting's default back.
    """
    given = patch.model_dump(exclude_unset=True)
    defaults = TenantSettings()
    changes = {name: getattr(defaults, name) if value is None else value for name, value in given.items()}
    settings = turns.registry.update(tenant, **changes) if changes else turns.registry.get(tenant)
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
        raise _unknown(tenant)
    if not outcome.remove:
        message = (
            f"the queue {outcome.queue} is not empty or in use, so nothing was removed: {outcome.reason}"
        )
        raise ApiError(HTTPStatus.CONFLICT, "in_use", message)


def _unknown(tenant: str) -> ApiError:
    return ApiError(HTTPStatus.NOT_FOUND, "not_found", f"there is no tenant {tenant!r}")
