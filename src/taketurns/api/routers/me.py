"""The caller's own tenant."""

from collections.abc import Iterator
from dataclasses import asdict
from http import HTTPStatus

from fastapi import APIRouter

from taketurns.api.dependencies import CurrentCaller, Turns
from taketurns.api.errors import describe
from taketurns.api.exposed import exposed_tasks
from taketurns.api.schemas import LimitStatus, Me, TenantLimits
from taketurns.api.views import look_at
from taketurns.extension import TakeTurns
from taketurns.limits.rate import RateLimit, parse_rate
from taketurns.registry import TenantSettings

router = APIRouter(prefix="/me", tags=["me"])


@router.get(
    "",
    summary="See your limits, your backlog and your next token",
    responses=describe(HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE),
)
def me(caller: CurrentCaller, turns: Turns) -> Me:
    """Return the caller's own settings, what waits in its queue, and what is left of each of its limits."""
    settings = turns.registry.get(caller.tenant)
    return Me(
        **look_at(turns, caller.tenant, settings).model_dump(include=set(TenantLimits.model_fields)),
        operator=caller.operator,
        limits=_limits(turns, caller.tenant, settings),
    )


def _limits(turns: TakeTurns, tenant: str, settings: TenantSettings) -> list[LimitStatus]:
    tenant_rate = settings.rate_limit or turns.settings.limiter.default_rate_limit
    statuses = turns.limiter.status(
        tenant, parse_rate(tenant_rate) if tenant_rate else None, dict(_task_rates(turns, settings))
    )
    return [LimitStatus(**asdict(status)) for status in statuses]


def _task_rates(turns: TakeTurns, settings: TenantSettings) -> Iterator[tuple[str, RateLimit]]:
    """Yield the rates of the exposed tasks: the tenant's own, or else the task's."""
    for task in exposed_tasks(turns.app):
        own = settings.task_rate_limits.get(task.name)
        rate = parse_rate(own) if own else task.task_rate
        if rate is not None:
            yield task.name, rate
