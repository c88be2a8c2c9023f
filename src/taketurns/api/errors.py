"""Every error as JSON of one shape: ``{"error": code, "message": text, "field": name or null}``."""

import logging
import math
import sys
from collections.abc import Mapping
from http import HTTPStatus
from json import JSONDecodeError
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from taketurns.api.auth import NotAuthenticated
from taketurns.api.results import ResultsUnavailable
from taketurns.api.schemas import Problem
from taketurns.api.signing_keys import KeysUnavailable
from taketurns.arguments import DEEPEST
from taketurns.errors import (
    BacklogFull,
    BrokerRefused,
    BrokerUnavailable,
    DeadLettersBusy,
    InvalidBatch,
    InvalidInput,
    KeyConflict,
    KeyInUse,
    ManagementUnavailable,
    PublishNotConfirmed,
    RegistryUnavailable,
    ScheduleExists,
    TaketurnsError,
    TaskNotFound,
    TenantExists,
    TenantInUse,
    TooManySchedules,
    UnknownSchedule,
    UnknownTask,
    UnknownTenant,
)

logger = logging.getLogger(__name__)

RETRY_AFTER: Final = 5
"""Seconds after which to try again what a server prevents that is away or busy."""

RETRY_LATER: Final = {"Retry-After": str(RETRY_AFTER)}
"""Tells a client so."""

_LISTED: Final = 100
"""Tasks of a batch whose errors an answer lists, at most."""

_SHOWN: Final = 5
"""Invalid fields that one message names, at most."""

# Their own messages name hosts and ports, which are for the operator's log and not for every client.
_AWAY: Final[Mapping[type[TaketurnsError], tuple[str, str]]] = {
    PublishNotConfirmed: (
        "not_confirmed",
        "RabbitMQ did not confirm the task in time, so it is not accepted; it may run all the same",
    ),
    BrokerRefused: (
        "broker_refused",
        "RabbitMQ does not allow that to this service, whose log says what is missing; nothing was accepted",
    ),
    BrokerUnavailable: ("broker_unavailable", "RabbitMQ can't be reached at present; nothing was accepted"),
    ManagementUnavailable: (
        "management_unavailable",
        "RabbitMQ's management API can't be reached at present",
    ),
    RegistryUnavailable: ("redis_unavailable", "Redis can't be reached at present"),
    ResultsUnavailable: ("results_unavailable", "the app's result backend can't be reached at present"),
    KeysUnavailable: (
        "signing_keys_unavailable",
        "the token can't be checked at present: its issuer's keys can't be fetched",
    ),
}

_OF_TENANTS: Final[Mapping[type[TaketurnsError], tuple[HTTPStatus, str]]] = {
    TaskNotFound: (HTTPStatus.NOT_FOUND, "not_found"),
    UnknownTenant: (HTTPStatus.NOT_FOUND, "not_found"),
    TenantExists: (HTTPStatus.CONFLICT, "exists"),
    TenantInUse: (HTTPStatus.CONFLICT, "in_use"),
    UnknownSchedule: (HTTPStatus.NOT_FOUND, "not_found"),
    ScheduleExists: (HTTPStatus.CONFLICT, "exists"),
    TooManySchedules: (HTTPStatus.CONFLICT, "too_many"),
}

_UNPARSED: Final = "There was an error parsing the body"
"""FastAPI's words for a body that is not even bad JSON; dependencies may answer 400 for reasons of their own."""

_WHOLE, _NUMBER, _CHOICE = "a whole number", "a number", "true or false"
_ACCEPTED: Final[Mapping[str, str]] = {
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "bool_type": _CHOICE,
    "bool_parsing": _CHOICE,
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}
"""What is accepted where pydantic found another type, by its names of such errors."""

_DESCRIPTIONS: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.UNAUTHORIZED: "No valid token or API key.",
    HTTPStatus.FORBIDDEN: "The token or API key is no operator's.",
    HTTPStatus.NOT_FOUND: "There is none of that name, or it is another tenant's.",
    HTTPStatus.CONFLICT: "Its queue still holds messages, or is in use.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is of another content type.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A value is not valid; `field` names it.",
    HTTPStatus.TOO_MANY_REQUESTS: "As many of the tenant's tasks wait as may; try again after `Retry-After` seconds.",
    HTTPStatus.SERVICE_UNAVAILABLE: "A server that this needs is away; nothing was accepted or changed.",
}


class ApiError(HTTPException):
    """An error that belongs to HTTP alone."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        message: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.code = code
        self.field = field


def problem(
    status: int,
    code: str,
    message: str,
    *,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return the answer to a request that failed."""
    body = Problem(
        error=code, message=_encodable(message), field=None if field is None else _encodable(field)
    )
    return JSONResponse(body.model_dump(), status_code=status, headers=dict(headers or {}))


def describe(*statuses: HTTPStatus, **others: str) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses=`` of a route that may fail with these statuses.

    Args:
        *statuses: those that mean the same everywhere.
        **others: those that mean something of their own there, by their names, such as ``conflict="..."``.
    """
    described = {status: _DESCRIPTIONS[status] for status in statuses}
    described |= {HTTPStatus[name.upper()]: description for name, description in others.items()}
    return {
        status.value: {"model": Problem, "description": description}
        for status, description in described.items()
    }


def answer_to(request: Request, error: Exception) -> JSONResponse | None:
    """Return the answer to a request of ours that ended with this error; None: it is none of ours."""
    answer: JSONResponse | None = None
    match error:
        case NotAuthenticated():
            headers = {"WWW-Authenticate": "Bearer"}
            answer = problem(HTTPStatus.UNAUTHORIZED, "not_authenticated", str(error), headers=headers)
        case InvalidBatch() | KeyInUse() | KeyConflict() | UnknownTask() | BacklogFull():
            answer = _not_submitted(error)
        case InvalidInput():
            answer = problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_input", str(error), field=error.field)
        case DeadLettersBusy():
            answer = problem(HTTPStatus.CONFLICT, "busy", str(error), headers=RETRY_LATER)
        case RequestValidationError():
            answer = _invalid_request(error)
        case ApiError():
            answer = problem(
                error.status_code, error.code, error.detail, field=error.field, headers=error.headers
            )
        case StarletteHTTPException(status_code=HTTPStatus.BAD_REQUEST, detail=detail) if detail == _UNPARSED:
            said = f"body: {_unreadable(error.__cause__)}"
            answer = problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_input", said, field="body")
        case TaketurnsError():
            of_tenant = _OF_TENANTS.get(type(error))
            answer = problem(*of_tenant, str(error)) if of_tenant else _away(request, error)
    return answer


def away(error: Exception) -> tuple[str, str] | None:
    """Return the code and the text by which clients are told that a server is away; None: it is another error."""
    return next((_AWAY[kind] for kind in type(error).__mro__ if kind in _AWAY), None)


def install(app: FastAPI) -> None:
    """Have the application answer in this shape outside of our endpoints too, and to what nobody expected."""
    app.exception_handler(StarletteHTTPException)(_http)
    app.exception_handler(Exception)(_unexpected)


def _invalid_request(error: RequestValidationError) -> JSONResponse:
    found = [(_field(each["loc"]), _said(each)) for each in error.errors()]
    message = "; ".join(f"{field}: {said}" for field, said in found[:_SHOWN])
    if len(found) > _SHOWN:
        message += f"; and {len(found) - _SHOWN} more"
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_input", message, field=found[0][0])


def _not_submitted(
    error: InvalidBatch | KeyInUse | KeyConflict | UnknownTask | BacklogFull,
) -> JSONResponse:
    match error:
        case InvalidBatch():
            return _invalid_batch(error)
        case KeyInUse():
            return problem(HTTPStatus.CONFLICT, "key_in_use", str(error), headers=RETRY_LATER)
        case BacklogFull():
            headers = _retry_after(error.retry_after)
            return problem(HTTPStatus.TOO_MANY_REQUESTS, "backlog_full", str(error), headers=headers)
        case _:
            return problem(
                HTTPStatus.UNPROCESSABLE_ENTITY, code_of(error), str(error), field=_field_of(error)
            )


def _field_of(error: Exception) -> str | None:
    return "name" if isinstance(error, UnknownTask) else getattr(error, "field", None)


def _invalid_batch(error: InvalidBatch) -> JSONResponse:
    told = [{"index": place, **_told(one)} for place, one in list(error.errors.items())[:_LISTED]]
    first = told[0]
    field = f"{first['index']}.{first['field']}" if first["field"] else str(first["index"])
    message = f"{field}: {first['message']}"
    if len(error.errors) > 1:
        message += f"; and {len(error.errors) - 1} more, of which nothing was submitted either"
    body = {"error": "invalid_batch", "message": message, "field": field, "errors": told}
    return JSONResponse(body, status_code=HTTPStatus.UNPROCESSABLE_ENTITY)


def _told(error: Exception) -> dict[str, Any]:
    """Return an error of one task of a batch in our shape."""
    said = error.detail if isinstance(error, ApiError) else str(error)
    field = _field_of(error)
    return {
        "error": code_of(error),
        "message": _encodable(said),
        "field": None if field is None else _encodable(field),
    }


def code_of(error: Exception) -> str:
    """Return the code of an error of one task of a batch."""
    match error:
        case ApiError():
            return error.code
        case UnknownTask():
            return "unknown_task"
        case KeyConflict():
            return "key_conflict"
        case BacklogFull():
            return "backlog_full"
        case _:
            away = (_AWAY[kind][0] for kind in type(error).__mro__ if kind in _AWAY)
            return next(away, "invalid_input")


def invalid_field(detail: Mapping[str, Any]) -> ApiError:
    """Return the error for a detail of pydantic's about one task of a batch."""
    field = ".".join(map(str, detail["loc"])) or "body"
    return ApiError(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_input", f"{field}: {_said(detail)}", field=field
    )


def unreadable(cause: BaseException) -> str:
    """Tell why a body is no JSON that can be read."""
    return f"the body is no JSON ({cause})" if isinstance(cause, JSONDecodeError) else _unreadable(cause)


def _away(request: Request, error: TaketurnsError) -> JSONResponse | None:
    told = away(error)
    if told is None:
        return None
    logger.warning("%s %r is answered with 503: %s", request.method, request.url.path, error)
    headers = _retry_after(error.retry_after if isinstance(error, KeysUnavailable) else RETRY_AFTER)
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, *told, headers=headers)


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


async def _http(_: Request, error: StarletteHTTPException) -> JSONResponse:
    code = HTTPStatus(error.status_code).name.lower()
    return problem(error.status_code, code, str(error.detail), headers=error.headers)


async def _unexpected(_: Request, __: Exception) -> JSONResponse:
    message = "something went wrong here; the server's log says what"
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", message)


def _field(location: tuple[str | int, ...]) -> str:
    """Return the field as the client knows it: without FastAPI's leading ``body``, ``query`` or ``path``."""
    if location[1:] and not isinstance(location[1], int):
        return ".".join(str(part) for part in location[1:])
    return str(location[0])


def _said(detail: Mapping[str, Any]) -> str:
    match detail["type"]:
        case "extra_forbidden":
            return "there is no such field here"
        case "json_invalid":
            return f"the body is no JSON ({detail['ctx']['error']})"
        case "missing" | "model_attributes_type" if detail["loc"] == ("body",):
            return "a JSON object is needed, with Content-Type: application/json"
        case kind if kind in _ACCEPTED:
            return InvalidInput(detail["input"], _ACCEPTED[kind]).reason
        case "literal_error":
            return InvalidInput(detail["input"], detail["ctx"]["expected"]).reason
        case _:
            return str(detail["msg"])


def _unreadable(cause: BaseException | None) -> str:
    """Tell why FastAPI could not read the body."""
    match cause:
        case RecursionError():
            return f"lists and objects may be nested at most {DEEPEST} deep"
        case UnicodeDecodeError():
            return "the body is no JSON (it is not UTF-8)"
        case ValueError():  # Python's limit is the only reason that is left
            return f"a whole number may have at most {sys.get_int_max_str_digits()} digits"
    return "it can't be read"


def _encodable(text: str) -> str:
    """Replace lone surrogates: JSON may carry them as escapes, UTF-8 can't."""
    return text.encode("utf-8", "backslashreplace").decode()
