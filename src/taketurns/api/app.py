"""The FastAPI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from taketurns import __version__
from taketurns.api import errors
from taketurns.api.authenticator import Authenticator
from taketurns.api.dependencies import authenticated, operators_only
from taketurns.api.mounting import health_router, operator_router, tenant_router
from taketurns.extension import TakeTurns

_DESCRIPTION: Final = """
Submit background tasks and look after them. Every tenant has a queue of its own, and the queues take turns:
many tasks of one tenant do not delay the first task of another.

The tenant comes from the bearer token or the API key, never from the request. Every error has one shape: a code in
`error`, the reason in `message`, and in `field` the name of the offending field, if it is one.
"""

_TAGS: Final = [
    {"name": "tasks", "description": "Submit tasks and see what became of them."},
    {"name": "live", "description": "The events of tasks as they happen, for EventSource."},
    {"name": "me", "description": "The caller's own tenant: limits, backlog, next token, dead letters."},
    {
        "name": "schedules",
        "description": "Tasks that are submitted again and again, by a clock or at an interval.",
    },
    {"name": "tenants", "description": "All tenants and their settings. For operators."},
    {
        "name": "dead letters",
        "description": "Tasks that failed for good, or can never run: see, replay, discard them. For operators.",
    },
    {"name": "workers", "description": "The workers and what each of them does now. For operators."},
    {"name": "status", "description": "How the whole system is doing. For operators."},
    {"name": "health", "description": "For load balancers and orchestrators; nothing is needed for it."},
]


def create_app(turns: TakeTurns) -> FastAPI:
    """Return the API of the Celery app that ``turns`` is installed in.

    Nothing is contacted yet: it starts, and says that it is not ready, while RabbitMQ or Redis is away.

    Raises:
        InvalidSettings: there is neither a JWT secret nor a JWKS URL, or the secret is too short.
    """
    caller = authenticated(Authenticator(turns))

    @asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        yield
        turns.close()

    # Its pages /docs and /redoc bring their scripts along, for networks that reach no CDN.
    app = FastAPIOffline(
        title="taketurns",
        version=__version__,
        summary="Multi-tenant background tasks that take turns.",
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        lifespan=closing,
    )
    errors.install(app)
    refused = (HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE)
    app.include_router(tenant_router(turns, current_tenant=caller), responses=errors.describe(*refused))
    app.include_router(
        operator_router(turns, require_operator=operators_only(caller)),
        responses=errors.describe(*refused, HTTPStatus.FORBIDDEN),
    )
    app.include_router(health_router(turns))
    return app
