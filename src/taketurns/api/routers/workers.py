"""The workers, for operators."""

from http import HTTPStatus

from taketurns.api.dependencies import Turns
from taketurns.api.endpoints import Endpoints
from taketurns.api.errors import describe
from taketurns.api.schemas.operations import WorkerList

endpoints = Endpoints("workers", prefix="/workers")


@endpoints.get(
    "",
    summary="List the workers",
    response_description="The workers by name.",
    responses=describe(HTTPStatus.SERVICE_UNAVAILABLE),
)
def list_workers(turns: Turns) -> WorkerList:
    """Return the workers that serve tenants, with what each does now; those that don't answer and were lost too.

    It takes about a second if a worker does not answer.
    """
    return WorkerList(workers=turns.workers())
