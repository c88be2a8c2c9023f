"""The caller's own tenant."""

from dataclasses import asdict
from http import HTTPStatus

from taketurns.api.dependencies import CurrentCaller, Turns
from taketurns.api.endpoints import Endpoints
from taketurns.api.errors import describe
from taketurns.api.exposed import exposed_tasks
from taketurns.api.schemas.tenants import LimitStatus, Me, TenantLimits, TenantStatistics
from taketurns.api.views import statistics, tenant_view
from taketurns.limits.standing import rates_of
from taketurns.roster import look_at

endpoints = Endpoints("me", prefix="/me")


@endpoints.get(
    "",
    summary="See your limits, your backlog and your next token",
    responses=describe(HTTPStatus.SERVICE_UNAVAILABLE),
)
def me(caller: CurrentCaller, turns: Turns) -> Me:
    """Return the caller's own settings, what waits in its queue, and what is left of each of its limits.

    Where several owners share a tenant, all of these are of the `tenant`; only the `owner` is the caller's own.
    """
    tenant = turns.tenant_of(caller.tenant)
    settings = turns.registry.get(tenant)
    view = tenant_view(look_at(turns, tenant, settings))
    rates = rates_of(turns, tenant, settings, exposed_tasks(turns.app))
    return Me(
        **view.model_dump(include=set(TenantLimits.model_fields)),
        owner=caller.tenant,
        operator=caller.operator,
        limits=[LimitStatus(**asdict(rate)) for rate in rates],
    )


@endpoints.get(
    "/stats",
    summary="See how your tasks do",
    responses=describe(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
)
def my_statistics(caller: CurrentCaller, turns: Turns) -> TenantStatistics:
    """Return how many tasks of the caller's tenant wait, run and have ended, how long that takes, and its limits.

    Where several owners share a tenant, `queued`, `delayed`, `waits` and `runs` are of the caller's own tasks, and
    all else is the whole tenant's. Takes about a second if a worker does not answer. 404: the tenant has had no task
    yet.
    """
    return statistics(turns, turns.tenant_of(caller.tenant), owner=caller.tenant)
