"""The app's ordinary requests: they wait here for a slot, so that tenants have their half.

Celery would hand each to the pool as its message comes, those that are fetched ahead as well, so that a backlog of
ordinary tasks would leave tenants no slot.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from celery.utils.log import get_logger
from celery.worker import state

from taketurns.worker.halves import Halves
from taketurns.worker.slots import release

if TYPE_CHECKING:
    from collections.abc import Callable

    from taketurns.worker.gate import Gate

logger = get_logger(__name__)

_AGAIN: Final = 5.0
"""Seconds until one that could not begin goes back to its queue."""


class OrdinaryRequests:
    """The requests that wait, in their order, and how many of the slots they may have.

    Args:
        consumer: Celery's consumer.
        gate: knows the tenants' requests.
        begin: hands a request to the pool.
    """

    def __init__(self, consumer: Any, gate: Gate, begin: Callable[[Any], None]) -> None:
        self._consumer = consumer
        self._gate = gate
        self._begin = begin
        self._waiting: deque[Any] = deque()
        self._halves = Halves()
        self._ended = False

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, request: Any) -> None:
        """Let a request wait for its slot; after [end][] it is dropped."""
        if not self._ended:
            self._waiting.append(request)

    def end(self) -> None:
        """Begin none any more: the messages of those that wait, and of those to come, go back with their channel."""
        self._ended = True
        self._waiting.clear()

    def begin_next(self, slots: int, *, tenants_wait: bool) -> bool:
        """Begin the next one in a slot that is free, if it may have it, and tell whether it did.

        Args:
            slots: all of them.
            tenants_wait: whether a tenant's task could have it as well.
        """
        if not self._halves.ordinary_may_begin(slots, self._running(), tenants_wait=tenants_wait):
            return False
        self._halves.ordinary_began()
        self._begin_safely(self._waiting.popleft())
        return True

    def tenant_began(self) -> None:
        """Note that a tenant's task has got a slot."""
        self._halves.tenant_began()

    def left_for_tenants(self, slots: int, free: int) -> int:
        """Return how many of so many free slots tenants may take."""
        return self._halves.left_for_tenants(slots, free, self._running()) if self._waiting else free

    def _running(self) -> int:
        reserved = state.reserved_requests
        of_tenants = sum(request in reserved for request in self._gate.requests.values())
        return len(reserved) - of_tenants - len(self._waiting)

    def _begin_safely(self, request: Any) -> None:
        """Begin it; what fails, such as to write down that it was revoked, is tried again and ends no worker."""
        try:
            self._begin(request)
        except self._consumer.connection_errors:
            raise
        except Exception:
            logger.exception(
                "task %s[%s] can't begin; it goes back in %g s", request.name, request.id, _AGAIN
            )
            release(self._consumer, request)
            self._consumer.timer.call_after(_AGAIN, request.reject, kwargs={"requeue": True})
