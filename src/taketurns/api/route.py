"""Routes that answer errors in our shape and limit bodies, whatever application they are part of."""

from collections.abc import Callable, Coroutine
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fastapi import Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from taketurns.api.errors import ApiError, answer_to
from taketurns.api.services import Services

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

Function = TypeVar("Function", bound=Callable[..., Any])

_IS_BATCH: Final = "taketurns_batch"


class Route(APIRoute):
    """A route of ours. What the rest of the application does with errors and bodies stays its own affair."""

    services: Services

    async def handle(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request; with at most ``max_body`` bytes of its body, and never more of it in memory."""
        self.services.give(scope)
        settings = self.services.turns.settings.api
        limit = settings.max_batch_body if takes_a_batch(self.endpoint) else settings.max_body
        await super().handle(scope, _limited(scope, receive, limit), send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request: as FastAPI does, but for the errors that are ours."""
        serve = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await serve(request)
            except Exception as error:
                response = answer_to(request, error)
                if response is None:
                    raise
                return response

        return answer

    @cached_property
    def operation(self) -> dict[str, Any]:
        """What OpenAPI says of it, wherever it is mounted; empty if it is hidden there."""
        paths = get_openapi(title="", version="", routes=[self])["paths"]
        operation: dict[str, Any] = paths.get(self.path_format, {}).get(min(self.methods or ()).lower(), {})
        return operation

    @property
    def query_parameters(self) -> dict[str, dict[str, Any]]:
        """The schemas of the query parameters that it takes, by their names."""
        parameters = self.operation.get("parameters", ())
        return {each["name"]: each["schema"] for each in parameters if each["in"] == "query"}


def batch(endpoint: Function) -> Function:
    """Mark an endpoint whose body is a batch, which may have ``max_batch_body`` bytes."""
    endpoint.__dict__[_IS_BATCH] = True
    return endpoint


def takes_a_batch(endpoint: Callable[..., Any]) -> bool:
    """Tell whether an endpoint is so marked."""
    return _IS_BATCH in endpoint.__dict__


def route_class(services: Services) -> type[Route]:
    """Return the class of routes that serve these."""
    return type("Route", (Route,), {"services": services})


def _limited(scope: "Scope", receive: "Receive", limit: int) -> "Receive":
    """Refuse a body that says it is too long before it is read, and one in chunks as soon as it is."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    said = int(length) if length.isdigit() else 0
    received = 0

    async def counted() -> "Message":
        nonlocal received
        if said <= limit:
            message = await receive()
            received += len(message.get("body", b""))
        if max(said, received) > limit:
            text = f"the body is too large; accepted are {limit} bytes at most"
            raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", text, field="body")
        return message

    return counted
