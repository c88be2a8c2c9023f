"""Requests that ask for something that their endpoint does not know: refused, since it would go unheard.

A filter that is misspelt would otherwise have everything listed, or thrown away.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.requests import HTTPConnection
from pydantic import BaseModel

from taketurns.api.errors import ApiError
from taketurns.api.websockets import refusal

if TYPE_CHECKING:
    from taketurns.api.route import Route


async def refuse_the_unheard(connection: HTTPConnection) -> None:
    """Refuse query parameters that the endpoint lacks or takes once, and a body where it takes none.

    Raises:
        ApiError: there is one.
        WebSocketException: there is one in the query of a WebSocket, which was accepted to be closed by that.
    """
    if not isinstance(connection, Request):
        try:
            _check_query(connection, {name: {} for name in _names(connection.scope["route"].dependant)})
        except ApiError as error:
            raise await refusal(connection, error) from error
        return
    route: Route = connection.scope["route"]
    _check_query(connection, route.query_parameters)
    if "requestBody" not in route.operation and await connection.body():
        raise _refused("body", "none is expected here; give what you want as parameters of the query")


def _check_query(connection: HTTPConnection, known: Mapping[str, dict[str, Any]]) -> None:
    given = Counter(name for name, _ in connection.query_params.multi_items())
    for name, times in given.items():
        if name not in known:
            accepted = f"accepted are {', '.join(known)}" if known else "there are none here"
            raise _refused(name, f"there is no such parameter here; {accepted}")
        if times > 1 and not _is_list(known[name]):
            raise _refused(name, "it is given more than once")


def _names(dependant: Dependant) -> Iterator[str]:
    """Return the query parameters that a WebSocket's endpoint takes, which no OpenAPI document has."""
    for each in dependant.query_params:
        model = each.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield from (field.alias or name for name, field in model.model_fields.items())
        else:
            yield each.alias
    for needed in dependant.dependencies:
        yield from _names(needed)


def _is_list(schema: dict[str, Any]) -> bool:
    return any(each.get("type") == "array" for each in (schema, *schema.get("anyOf", ())))


def _refused(field: str, why: str) -> ApiError:
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_input", f"{field}: {why}", field=field)
