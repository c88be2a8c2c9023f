"""The FastAPI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline

from taketurns import __version__
from taketurns.api import errors
from taketurns.api.body_limit import BodyLimit
from taketurns.api.dependencies import provide
from taketurns.api.routers import dead_letters, health, me, status, tasks, tenants
from taketurns.api.strict import refuse_the_unheard
from taketurns.extension import TakeTurns

_DESCRIPTION: Final = """
Submit background tasks and look after them. Every tenant has a queue of its own, and the queues take turns:
many tasks of one tenant do not delay the first task of another.

The tenant comes from the bearer token, never from the request. Every error has one shape: a code in `error`,
the reason in `message`, and in `field` the name of the offending field, if it is one.
"""

_TAGS: Final = [
    {"name": "tasks", "description": "Submit tasks and see what became of them."},
    {"name": "me", "description": "The caller's own tenant: limits, backlog, next token."},
    {"name": "tenants", "description": "All tenants and their settings. For operators."},
    {
        "name": "dead letters",
        "description": "Tasks that failed for good, or can never run: see, replay, discard them. For operators.",
    },
    {"name": "status", "description": "How the whole system is doing. For operators."},
    {"name": "health", "description": "For load balancers and orchestrators; no token needed."},
]


def create_app(turns: TakeTurns) -> FastAPI:
    """Return the API of the Celery app that ``turns`` is installed in.

    Nothing is contacted yet: it starts, and says that it is not ready, while RabbitMQ or Redis is away.

    Raises:
        InvalidSettings: the JWT secret is missing or too short.
    """
    # Finds the tasks of `imports`, `include` and autodiscover_tasks(), as a worker does at its start.
    turns.app.loader.import_default_modules()
    turns.app.finalize(auto=True)
    # Its pages /docs and /redoc bring their scripts along, for networks that reach no CDN.
    app = FastAPIOffline(
        title="taketurns",
        version=__version__,
        summary="Multi-tenant background tasks that take turns.",
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        lifespan=_lifespan,
    )
    provide(app, turns)
    app.add_middleware(BodyLimit, limit=turns.settings.api.max_body)
    errors.install(app)
    for each in (tasks, me, tenants, dead_letters, status, health):
        app.include_router(each.router, dependencies=[Depends(refuse_the_unheard)])
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.turns.close()
