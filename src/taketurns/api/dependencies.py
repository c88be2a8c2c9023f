"""What the endpoints ask for, as ``Annotated`` dependencies.

Coroutines, although they wait for nothing: FastAPI would send plain functions through its threadpool.
"""

from http import HTTPStatus
from typing import Annotated, cast

from fastapi import Depends, FastAPI, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from taketurns.api.auth import Caller, NotAuthenticated, Tokens
from taketurns.api.errors import ApiError
from taketurns.api.readiness import Readiness
from taketurns.api.submission import Submitter
from taketurns.extension import TakeTurns
from taketurns.tenants import validate_tenant

_bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    description="A token that names the tenant; `taketurns token TENANT` makes one for development.",
)


def provide(app: FastAPI, turns: TakeTurns) -> None:
    """Give an application what its endpoints ask for. Nothing is opened yet.

    Raises:
        InvalidSettings: the JWT secret is missing or too short.
    """
    app.state.turns = turns
    app.state.tokens = Tokens(turns.settings.api)
    app.state.submitter = Submitter(turns)
    app.state.readiness = Readiness(turns)


async def _turns(request: Request) -> TakeTurns:
    return cast("TakeTurns", request.app.state.turns)


async def _submitter(request: Request) -> Submitter:
    return cast("Submitter", request.app.state.submitter)


async def _readiness(request: Request) -> Readiness:
    return cast("Readiness", request.app.state.readiness)


async def _caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    if credentials is None:
        raise NotAuthenticated("a bearer token is needed: Authorization: Bearer <token>")
    return cast("Tokens", request.app.state.tokens).verify(credentials.credentials)


Turns = Annotated[TakeTurns, Depends(_turns)]
"""The app's TakeTurns."""

Submissions = Annotated[Submitter, Depends(_submitter)]
"""The way into the tenant queues."""

ServerChecks = Annotated[Readiness, Depends(_readiness)]
"""Whether the servers answer."""

CurrentCaller = Annotated[Caller, Depends(_caller)]
"""Whom the request's token speaks for; without a valid one the answer is 401."""


async def require_operator(caller: CurrentCaller) -> Caller:
    """Let only operators through; anybody else is answered 403."""
    if not caller.operator:
        raise ApiError(HTTPStatus.FORBIDDEN, "forbidden", "this needs a token with the role 'operator'")
    return caller


async def _tenant(tenant: Annotated[str, Path(description="The tenant id.", examples=["acme"])]) -> str:
    return validate_tenant(tenant)


TenantPath = Annotated[str, Depends(_tenant)]
"""The path's ``tenant``, of the accepted form; anything else is answered 422."""
