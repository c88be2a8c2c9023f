"""Submitting many tasks in one request."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import Request
from fastapi.responses import JSONResponse

from taketurns.api.batches import refuse_key
from taketurns.api.dependencies import BatchSubmissions, CurrentCaller
from taketurns.api.endpoints import Endpoints
from taketurns.api.errors import ApiError, describe
from taketurns.api.faults import code_of
from taketurns.api.incoming import MOST
from taketurns.api.route import batch
from taketurns.api.schemas.batches import BatchAccepted, BatchProblem

endpoints = Endpoints("tasks", prefix="/tasks")

_JSON: Final = "application/json"
_LINES: Final = "application/x-ndjson"
_SUBMISSION: Final = {"$ref": "#/components/schemas/TaskSubmission"}
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "description": "Submissions as for `POST /tasks`: an array of them, or one a line.",
    "content": {
        _JSON: {"schema": {"type": "array", "items": _SUBMISSION, "minItems": 1, "maxItems": MOST}},
        _LINES: {
            "schema": {"type": "string", "examples": ['{"name": "shop.tasks.thumbnail", "args": ["i-1"]}\n']}
        },
    },
}


@endpoints.post(
    "/batch",
    status_code=HTTPStatus.ACCEPTED,
    summary="Submit many tasks",
    response_model=BatchAccepted,
    response_description="The broker has confirmed all tasks.",
    openapi_extra={"requestBody": _BODY},
    responses={
        HTTPStatus.MULTI_STATUS.value: {
            "model": BatchAccepted,
            "description": "The broker has confirmed some of the tasks; each of the others has an `error`.",
        },
        **describe(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.SERVICE_UNAVAILABLE,
            conflict="Another request with the same idempotency key is under way.",
        ),
        HTTPStatus.UNPROCESSABLE_ENTITY.value: {
            "model": BatchProblem,
            "description": "Some tasks are not valid, and none was submitted; `errors` tells of each.",
        },
    },
)
@batch
async def submit_batch(request: Request, caller: CurrentCaller, batches: BatchSubmissions) -> JSONResponse:
    """Queue up to 10,000 tasks for the caller's tenant: all are checked before the first is submitted.

    The answer has an entry for each task, in their order. 202 says that the broker has confirmed all of them, 207
    that it failed in between: those with an `error` are not accepted. 503 says that none is; with the code
    `not_confirmed` some may run all the same. A 429 says that not all of them may wait; none was submitted.
    """
    refuse_key(request.headers.get("Idempotency-Key"))
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == _JSON:
        collected = await batches.read_array(caller.tenant, await request.body())
    elif kind == _LINES:
        collected = await batches.read_lines(caller.tenant, request.stream())
    else:
        text = f"Content-Type: {_JSON} is needed, for an array, or {_LINES}, for one task a line"
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", text)
    told = await batches.submit(collected)
    accepted = sum(each.error is None for each in told)
    answer = {
        "tenant": caller.tenant,
        "accepted": accepted,
        "tasks": [
            {
                "task_id": each.task_id,
                "duplicate": each.duplicate,
                "error": None if each.error is None else code_of(each.error),
            }
            for each in told
        ],
    }
    status = HTTPStatus.ACCEPTED if accepted == len(told) else HTTPStatus.MULTI_STATUS
    return JSONResponse(answer, status_code=status)
