"""How the whole system is doing, for operators."""

from http import HTTPStatus

from fastapi import APIRouter, Depends

from taketurns.api.dependencies import Turns, require_operator
from taketurns.api.errors import describe
from taketurns.status import SystemStatus

router = APIRouter(
    prefix="/status",
    tags=["status"],
    dependencies=[Depends(require_operator)],
    responses=describe(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN),
)


@router.get("", summary="See how the system is doing", response_description="What could be told.")
def status(turns: Turns) -> SystemStatus:
    """Ask servers and workers, all at once, and return what each of them tells.

    This answers 200 whatever is away, and says so: see `ok` of each server. It takes about a second if a worker does
    not answer.
    """
    return turns.status()
