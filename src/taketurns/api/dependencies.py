"""What the endpoints ask for, as ``Annotated`` dependencies."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from taketurns.api.auth import Caller, NotAuthenticated, Tokens
from taketurns.api.errors import ApiError
from taketurns.extension import TakeTurns
from taketurns.tenants import validate_tenant

_bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    description="A token that names the tenant; `taketurns token TENANT` makes one for development.",
)

# Coroutines, although they wait for nothing: FastAPI would send plain functions through its threadpool.


async def _turns(request: Request) -> TakeTurns:
    turns = request.app.state.turns
    assert isinstance(turns, TakeTurns)  # noqa: S101
    return turns


async def _caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    if credentials is None:
        raise NotAuthenticated("a bearer token is needed: Authorization: Bearer <token>")
    tokens = request.app.state.tokens
    assert isinstance(tokens, Tokens)  # noqa: S101
    return tokens.verify(credentials.credentials)


Turns = Annotated[TakeTurns, Depends(_turns)]
"""The app's TakeTurns."""

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
