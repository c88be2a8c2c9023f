"""Requests that ask for something that their endpoint does not know: refused, since it would go unheard.

A filter that is misspelt would otherwise have everything listed, or thrown away.
"""

from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.requests import HTTPConnection

from taketurns.api.errors import ApiError

if TYPE_CHECKING:
    from taketurns.api.route import Route


def query_parameters(route: "Route") -> dict[str, dict[str, Any]]:
    """Return the schemas of the query parameters that an endpoint takes, by their names."""
    parameters = route.operation.get("parameters", ())
    return {each["name"]: each["schema"] for each in parameters if each["in"] == "query"}


async def refuse_the_unheard(request: HTTPConnection) -> None:
    """Refuse query parameters that the endpoint lacks or takes once, and a body where it takes none.

    A WebSocket, which is about one thing only, may have any.

    Raises:
        ApiError: there is one.
    """
    if not isinstance(request, Request):
        return
    route: Route = request.scope["route"]
    known = query_parameters(route)
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            accepted = f"accepted are {', '.join(known)}" if known else "there are none here"
            raise _refused(name, f"there is no such parameter here; {accepted}")
        if times > 1 and not _is_list(known[name]):
            raise _refused(name, "it is given more than once")
    if "requestBody" not in route.operation and await request.body():
        raise _refused("body", "none is expected here; give what you want as parameters of the query")


def _is_list(schema: dict[str, Any]) -> bool:
    return any(each.get("type") == "array" for each in (schema, *schema.get("anyOf", ())))


def _refused(field: str, why: str) -> ApiError:
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_input", f"{field}: {why}", field=field)
