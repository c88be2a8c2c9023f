"""What an application serves, as its routes and its OpenAPI document tell, for tests that go through all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi.routing import APIWebSocketRoute, iter_route_contexts  # an extra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

EVENTS = "text/event-stream"
WEBSOCKET = "WEBSOCKET"


@dataclass(frozen=True)
class Parameter:
    """Something that a request may tell.

    Attributes:
        place: where: ``path``, ``query``, ``header`` or ``body``.
        name: its name.
        schema: what its values are.
    """

    place: str
    name: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """A method of a path; of a WebSocket it is ``WEBSOCKET``.

    Attributes:
        method: the method.
        path: the path, with its parameters in braces.
        parameters: all that it takes.
        body: whether it takes a body: an ``object``, or an ``array`` of them; or None.
        is_stream: whether it answers with server-sent events.
    """

    method: str
    path: str
    parameters: tuple[Parameter, ...] = ()
    body: str | None = None
    is_stream: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def operations_of(app: FastAPI) -> list[Operation]:
    """Return all that an application serves; what its document does not tell has no parameters."""
    document = app.openapi()
    found = []
    for route in iter_route_contexts(app.routes):
        path = route.path_format or route.path or ""
        if isinstance(route.original_route, APIWebSocketRoute):
            found.append(Operation(WEBSOCKET, path, tuple(_of_websocket(route.original_route))))
            continue
        told = document["paths"].get(path, {})
        for method in sorted(route.methods or {"MOUNT"}):
            operation = told.get(method.lower())
            found.append(_read(document, method, path, operation) if operation else Operation(method, path))
    return found


def _read(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> Operation:
    parameters = [
        Parameter(each["in"], each["name"], each["schema"]) for each in operation.get("parameters", ())
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    kind = None
    if body is not None:
        kind = "array" if body.get("type") == "array" else "object"
        schema = _resolved(document, body["items"] if kind == "array" else body)
        parameters += [Parameter("body", name, each) for name, each in schema["properties"].items()]
    content = operation["responses"].get("200", {}).get("content", {})
    return Operation(method, path, tuple(parameters), kind, is_stream=EVENTS in content)


def _of_websocket(route: APIWebSocketRoute) -> Iterator[Parameter]:
    for place, several in (("path", route.dependant.path_params), ("query", route.dependant.query_params)):
        for each in several:
            yield Parameter(place, each.alias, {})


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found
