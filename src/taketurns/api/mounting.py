"""Our endpoints as routers, to mount in any FastAPI application."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import APIRouter, Depends
from fastapi.params import Depends as Dependency

from taketurns.api.dependencies import for_tenant
from taketurns.api.endpoints import Endpoints
from taketurns.api.route import route_class
from taketurns.api.routers import (
    batches,
    dead_letters,
    health,
    live,
    me,
    own_dead_letters,
    schedules,
    status,
    tasks,
    tenants,
    workers,
)
from taketurns.api.services import Services
from taketurns.api.strict import refuse_the_unheard
from taketurns.extension import TakeTurns

_OF_TENANTS: Final = (
    tasks.endpoints,
    batches.endpoints,
    live.endpoints,
    schedules.endpoints,
    me.endpoints,
    own_dead_letters.endpoints,
)
_OF_OPERATORS: Final = (tenants.endpoints, dead_letters.endpoints, workers.endpoints, status.endpoints)
_OF_ANYBODY: Final = (health.endpoints,)


def tenant_router(turns: TakeTurns, *, current_tenant: Callable[..., Any]) -> APIRouter:
    """Return the endpoints of a tenant: ``/tasks``, ``/events``, ``/schedules``, ``/me`` and ``/me/dead-letters``.

    Their errors have our shape and their bodies our limit (``max_body``); the rest of the application keeps its own.
    What ``current_tenant`` raises goes to the application's own handlers.

    Args:
        turns: the TakeTurns of the Celery app whose exposed tasks can be submitted. Its tasks are imported now. Close
            it (``turns.close()``) where the application ends.
        current_tenant: a dependency of FastAPI's, coroutine or not, that returns the tenant whom the request speaks
            for, such as ``str(user.id)``, or a [Caller][taketurns.api.auth.Caller]. It may depend on others, and
            raise HTTPException to refuse the request. What is no tenant id is answered 422. With a ``tenant_key`` it
            is the owner, who is mapped to a tenant.

    Raises:
        InvalidSettings: there is no function where ``TAKETURNS_TENANT_KEY_FUNCTION`` says.
    """
    return _serving(turns, _OF_TENANTS, Depends(for_tenant(current_tenant)))


def operator_router(turns: TakeTurns, *, require_operator: Callable[..., Any]) -> APIRouter:
    """Return what sees and changes all tenants: ``/tenants``, ``/dead-letters``, ``/workers`` and ``/status``.

    Args:
        turns: as for [tenant_router][taketurns.api.mounting.tenant_router].
        require_operator: a dependency of FastAPI's that raises unless the request is an operator's; what it returns
            is not looked at.
    """
    return _serving(turns, _OF_OPERATORS, Depends(require_operator))


def health_router(turns: TakeTurns) -> APIRouter:
    """Return the endpoints that anybody may ask how the servers are: ``/health/live`` and ``/health/ready``."""
    return _serving(turns, _OF_ANYBODY)


def serve(turns: TakeTurns, several: Sequence[Endpoints], *first: Dependency) -> APIRouter:
    """Return a router of endpoints, each served after what comes first let the request through."""
    kind = route_class(Services(turns))
    whole = APIRouter()
    for endpoints in several:
        whole.include_router(endpoints.router(kind, [*first, Depends(refuse_the_unheard)]))
    return whole


def _serving(turns: TakeTurns, several: Sequence[Endpoints], *first: Dependency) -> APIRouter:
    # Finds the tasks of `imports`, `include` and autodiscover_tasks(), as a worker does at its start.
    turns.app.loader.import_default_modules()
    turns.app.finalize(auto=True)
    turns.tenancy.key.check()
    _ = turns.app.backend  # imports its client, SQLAlchemy for one, before a request has to wait for that
    return serve(turns, several, *first)
