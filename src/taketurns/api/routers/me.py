"""The caller's own tenant."""

from dataclasses import asdict
from http import HTTPStatus

from taketurns.api.dependencies import CurrentCaller, Turns
from taketurns.api.endpoints import Endpoints
from taketurns.api.errors import describe
from taketurns.api.exposed import exposed_tasks
from taketurns.api.schemas import LimitStatus, Me, TenantLimits
from taketurns.api.views import tenant_view
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
