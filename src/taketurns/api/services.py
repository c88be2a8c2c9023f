"""What the endpoints of one TakeTurns share, and how a request carries it to them."""

from collections.abc import MutableMapping
from typing import Any, Final

from fastapi.requests import HTTPConnection

from taketurns.api.auth import Caller
from taketurns.api.batches import BatchSubmitter
from taketurns.api.readiness import Readiness
from taketurns.api.submission import Submitter
from taketurns.extension import TakeTurns

# In the request's ASGI scope, as `state` is the application's own.
_SERVICES: Final = "taketurns.services"
_CALLER: Final = "taketurns.caller"


class Services:
    """What the endpoints work with. Nothing is opened yet.

    Attributes:
        turns: the app's TakeTurns.
        submitter: the way into the tenant queues.
        batches: the same, for many tasks at a time.
        readiness: whether the servers answer.
    """

    def __init__(self, turns: TakeTurns) -> None:
        self.turns = turns
        self.submitter = Submitter(turns)
        self.batches = BatchSubmitter(turns)
        self.readiness = Readiness(turns)

    async def give_to(self, connection: HTTPConnection) -> None:
        """Give a WebSocket these; a dependency, as no route of ours handles it."""
        self.give(connection.scope)

    def give(self, scope: MutableMapping[str, Any]) -> None:
        """Give a request these."""
        scope[_SERVICES] = self


def services_of(request: HTTPConnection) -> Services:
    """Return what a request was given."""
    services: Services = request.scope[_SERVICES]
    return services


def set_caller(request: HTTPConnection, caller: Caller) -> None:
    """Note whom a request speaks for."""
    request.scope[_CALLER] = caller


def caller_of_request(request: HTTPConnection) -> Caller | None:
    """Return whom a request speaks for; None: nobody could tell, and FastAPI refuses its parameters next."""
    caller: Caller | None = request.scope.get(_CALLER)
    return caller
