"""What the endpoints ask for, as ``Annotated`` dependencies, and the dependencies that let callers through.

Coroutines, although most wait for nothing: FastAPI would send plain functions through its threadpool.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Path
from fastapi.requests import HTTPConnection

from taketurns.api.auth import Caller, NotAuthenticated
from taketurns.api.authenticator import Authenticator
from taketurns.api.batches import BatchSubmitter
from taketurns.api.credentials import Bearer
from taketurns.api.errors import ApiError
from taketurns.api.readiness import Readiness
from taketurns.api.services import caller_of_request, services_of, set_caller
from taketurns.api.submission import Submitter
from taketurns.api.websockets import refusal
from taketurns.errors import InvalidTenant, TaketurnsError
from taketurns.extension import TakeTurns
from taketurns.tenants import validate_tenant

_bearer = Bearer()


def authenticated(authenticator: Authenticator) -> Callable[..., Awaitable[Caller]]:
    """Return the dependency that tells whom a request's bearer token or API key speaks for; without one it is 401."""

    async def caller(
        connection: HTTPConnection, credential: Annotated[str | None, Depends(_bearer)]
    ) -> Caller:
        try:
            if credential is None:
                raise NotAuthenticated(
                    "a bearer token or an API key is needed: Authorization: Bearer <token or key>"
                )
            return await authenticator.caller(credential)
        except TaketurnsError as error:
            raise await refusal(connection, error) from error

    return caller


def operators_only(current_caller: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
    """Return the dependency that lets only operators through; anybody else is answered 403."""

    async def require_operator(caller: Annotated[Caller, Depends(current_caller)]) -> None:
        if not caller.operator:
            message = "this needs a token with the role 'operator', or an operator's API key"
            raise ApiError(HTTPStatus.FORBIDDEN, "forbidden", message)

    return require_operator


def for_tenant(current_tenant: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
    """Return the dependency that has a request speak for the tenant that another dependency returns.

    That may be a Caller too. What is no tenant id is answered 422.
    """

    async def identify(connection: HTTPConnection, found: Annotated[Any, Depends(current_tenant)]) -> None:
        try:
            set_caller(connection, found if isinstance(found, Caller) else Caller(validate_tenant(found)))
        except InvalidTenant as error:
            raise await refusal(connection, error) from error

    return identify


async def _turns(request: HTTPConnection) -> TakeTurns:
    return services_of(request).turns


async def _submitter(request: HTTPConnection) -> Submitter:
    return services_of(request).submitter


async def _batches(request: HTTPConnection) -> BatchSubmitter:
    return services_of(request).batches


async def _readiness(request: HTTPConnection) -> Readiness:
    return services_of(request).readiness


async def _caller(request: HTTPConnection) -> Caller | None:
    return caller_of_request(request)


async def _tenant(tenant: Annotated[str, Path(description="The tenant id.", examples=["acme"])]) -> str:
    return validate_tenant(tenant)


Turns = Annotated[TakeTurns, Depends(_turns)]
"""The app's TakeTurns."""

Submissions = Annotated[Submitter, Depends(_submitter)]
"""The way into the tenant queues."""

BatchSubmissions = Annotated[BatchSubmitter, Depends(_batches)]
"""The same, for many tasks at a time."""

ServerChecks = Annotated[Readiness, Depends(_readiness)]
"""Whether the servers answer."""

CurrentCaller = Annotated[Caller, Depends(_caller)]
"""Whom the request speaks for; only where ``for_tenant`` comes first."""

TenantPath = Annotated[str, Depends(_tenant)]
"""The path's ``tenant``, of the accepted form; anything else is answered 422."""
