"""Endpoints of one tag, which become routes when it is known whose: for which TakeTurns, and who may call them."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from fastapi import APIRouter, Depends
from fastapi.params import Depends as Dependency

from taketurns.api.route import Route

Function = TypeVar("Function", bound=Callable[..., Any])

_WEBSOCKET: Final = "WEBSOCKET"


class Endpoints:
    """Collects endpoints by decorators, which are those of FastAPI's APIRouter.

    Args:
        tag: what the documentation lists them under.
        prefix: how their paths begin.
        responses: how each of them may answer, beside what it says itself.
    """

    def __init__(
        self, tag: str, *, prefix: str, responses: dict[int | str, dict[str, Any]] | None = None
    ) -> None:
        self._tag = tag
        self._prefix = prefix
        self._responses = responses
        self._endpoints: list[tuple[str, str, Callable[..., Any], dict[str, Any]]] = []

    def get(self, path: str, **options: Any) -> Callable[[Function], Function]:
        """Add the decorated function as a GET."""
        return self._adding("GET", path, options)

    def post(self, path: str, **options: Any) -> Callable[[Function], Function]:
        """Add the decorated function as a POST."""
        return self._adding("POST", path, options)

    def patch(self, path: str, **options: Any) -> Callable[[Function], Function]:
        """Add the decorated function as a PATCH."""
        return self._adding("PATCH", path, options)

    def delete(self, path: str, **options: Any) -> Callable[[Function], Function]:
        """Add the decorated function as a DELETE."""
        return self._adding("DELETE", path, options)

    def websocket(self, path: str) -> Callable[[Function], Function]:
        """Add the decorated function as a WebSocket."""
        return self._adding(_WEBSOCKET, path, {})

    def router(self, route_class: type[Route], dependencies: Sequence[Dependency]) -> APIRouter:
        """Return a router of them all.

        Args:
            route_class: the class of its routes.
            dependencies: what is asked before each endpoint, in this order.
        """
        router = APIRouter(
            prefix=self._prefix,
            tags=[self._tag],
            responses=self._responses,
            dependencies=dependencies,
            route_class=route_class,
        )
        for method, path, function, options in self._endpoints:
            if method == _WEBSOCKET:
                given = [Depends(route_class.services.give_to)]
                router.add_api_websocket_route(path, function, dependencies=given)
            else:
                router.add_api_route(path, function, methods=[method], **options)
        return router

    def _adding(self, method: str, path: str, options: dict[str, Any]) -> Callable[[Function], Function]:
        def add(function: Function) -> Function:
            self._endpoints.append((method, path, function, options))
            return function

        return add
