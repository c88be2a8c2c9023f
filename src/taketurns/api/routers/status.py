"""How the whole system is doing, for operators."""

from taketurns.api.dependencies import Turns
from taketurns.api.endpoints import Endpoints
from taketurns.status import SystemStatus

endpoints = Endpoints("status", prefix="/status")


@endpoints.get("", summary="See how the system is doing", response_description="What could be told.")
def status(turns: Turns) -> SystemStatus:
    """Ask servers and workers, all at once, and return what each of them tells.

    This answers 200 whatever is away, and says so: see `ok` of each server. It takes about a second if a worker does
    not answer.
    """
    return turns.status()
