"""Every error as JSON of one shape: ``{"error": code, "message": text, "field": name or null}``."""

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from taketurns.api import faults
from taketurns.api.allowed import allowed_methods
from taketurns.api.auth import NotAuthenticated
from taketurns.api.schemas.base import Problem
from taketurns.api.signing_keys import KeysUnavailable
from taketurns.errors import (
    BacklogFull,
    DeadLettersBusy,
    InvalidBatch,
    InvalidInput,
    KeyConflict,
    KeyInUse,
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
from taketurns.texts import escaped

logger = logging.getLogger(__name__)

RETRY_AFTER: Final = 5
"""Seconds after which to try again what a server prevents that is away or busy."""

RETRY_LATER: Final = {"Retry-After": str(RETRY_AFTER)}
"""Tells a client so."""

_LISTED: Final = 100
"""Tasks of a batch whose errors an answer lists, at most."""

_SHOWN: Final = 5
"""Invalid fields that one message names, at most."""

_AWAY: Final[Mapping[type[TaketurnsError], tuple[str, str]]] = {
    **faults.AWAY,
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
        error=code,
        message=escaped(message),
        field=None if field is None else escaped(field),
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
        case faults.Malformed():
            answer = problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.code, str(error), field=error.field)
        case ApiError():
            answer = problem(
                error.status_code, error.code, error.detail, field=error.field, headers=error.headers
            )
        case StarletteHTTPException(status_code=HTTPStatus.BAD_REQUEST, detail=detail) if detail == _UNPARSED:
            said = f"body: {faults.not_parsed(error.__cause__)}"
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
    found = [(_field(each["loc"]), faults.said(each)) for each in error.errors()]
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
                HTTPStatus.UNPROCESSABLE_ENTITY,
                faults.code_of(error),
                str(error),
                field=faults.field_of(error),
            )


def _invalid_batch(error: InvalidBatch) -> JSONResponse:
    told = [{"index": place, **faults.told(one)} for place, one in list(error.errors.items())[:_LISTED]]
    first = told[0]
    field = f"{first['index']}.{first['field']}" if first["field"] else str(first["index"])
    message = f"{field}: {first['message'].removeprefix(str(first['field']) + ': ')}"
    if len(error.errors) > 1:
        message += f"; and {len(error.errors) - 1} more, of which nothing was submitted either"
    body = {"error": "invalid_batch", "message": message, "field": field, "errors": told}
    return JSONResponse(body, status_code=HTTPStatus.UNPROCESSABLE_ENTITY)


def _away(request: Request, error: TaketurnsError) -> JSONResponse | None:
    told = away(error)
    if told is None:
        return None
    logger.warning("%s %r is answered with 503: %s", request.method, request.url.path, error)
    headers = _retry_after(error.retry_after if isinstance(error, KeysUnavailable) else RETRY_AFTER)
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, *told, headers=headers)


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


async def _http(request: Request, error: StarletteHTTPException) -> JSONResponse:
    code = HTTPStatus(error.status_code).name.lower()
    headers = error.headers
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {**(headers or {}), "Allow": ", ".join(allowed_methods(request))}
    return problem(error.status_code, code, str(error.detail), headers=headers)


async def _unexpected(_: Request, __: Exception) -> JSONResponse:
    message = "something went wrong here; the server's log says what"
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", message)


def _field(location: tuple[str | int, ...]) -> str:
    """Return the field as the client knows it: without FastAPI's leading ``body``, ``query`` or ``path``."""
    if location[1:] and not isinstance(location[1], int):
        return ".".join(str(part) for part in location[1:])
    return str(location[0])
