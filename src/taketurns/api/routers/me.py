"""The caller's own tenant."""

from dataclasses import asdict
from http import HTTPStatus

from taketurns.api.dependencies import CurrentCaller, Turns
from taketurns.api.endpoints import Endpoints
from taketurns.api.errors import describe
from taketurns.api.exposed import exposed_tasks
from taketurns.api.schemas import LimitStatus, Me, TenantLimits, TenantStatistics
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
    """Return the caller's own settings, what waits in its queue, and what is left of each of its limits."""
    settings = turns.registry.get(caller.tenant)
    view = tenant_view(look_at(turns, caller.tenant, settings))
    rates = rates_of(turns, caller.tenant, settings, exposed_tasks(turns.app))
    return Me(
        **view.model_dump(include=set(TenantLimits.model_fields)),
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

    Takes about a second if a worker does not answer. 404: the tenant has had no task yet.
    """
    return statistics(turns, caller.tenant)
