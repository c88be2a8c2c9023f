"""Whether the process runs, and whether it can accept tasks."""

from http import HTTPStatus

from fastapi import Response

from taketurns.api.dependencies import ServerChecks
from taketurns.api.endpoints import Endpoints
from taketurns.api.schemas.operations import Live, Ready

endpoints = Endpoints("health", prefix="/health")


@endpoints.get("/live", summary="Does the process run?")
async def live() -> Live:
    """Answer, whatever the servers behind it do."""
    return Live()


@endpoints.get(
    "/ready",
    summary="Can tasks be accepted?",
    response_description="Tasks are accepted.",
    responses={HTTPStatus.SERVICE_UNAVAILABLE.value: {"model": Ready, "description": "No broker."}},
)
async def ready(servers: ServerChecks, response: Response) -> Ready:
    """Ask RabbitMQ, its management API and Redis whether they answer.

    Only RabbitMQ is needed to accept tasks: without it this answers 503, without another one `degraded`.
    """
    found = await servers.look()
    if found.status == "unavailable":
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return found
