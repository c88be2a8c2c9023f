"""The two ways that the demo's tasks take: one queue for all, and tenant queues that take turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taketurns.demo.client import Client
from taketurns.demo.names import D_RATE, ONE_QUEUE, OPERATOR, PLAIN_WORK, WORK
from taketurns.demo.traffic import TASK_SECONDS

if TYPE_CHECKING:
    from taketurns.demo.stage import Stage

_REPLY_WITHIN: Final = 5.0


class OneQueue:
    """One queue of an ordinary Celery app, first in, first out; nothing limits D there.

    The workers consume it from ``release`` until ``close``.
    """

    title = "one queue"
    ledger = "one_queue"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def client(self, tenant: str) -> Client:
        """Return a new client that submits for the tenant."""
        return Client(self._stage.one_queue_url, self._stage.token(tenant))

    def submit(self, client: Client) -> str:
        """Submit one task; return its id."""
        return client.submit(PLAIN_WORK, self.ledger, TASK_SECONDS)

    def hold(self) -> None:
        """Leave the queue alone: nobody consumes it yet."""

    def release(self) -> None:
        """Have both workers consume the queue."""
        workers = self._stage.workers
        self._stage.control.add_consumer(ONE_QUEUE, destination=workers, reply=True, timeout=_REPLY_WITHIN)

    def close(self) -> None:
        """Have the workers consume it no more."""
        workers = self._stage.workers
        self._stage.control.cancel_consumer(ONE_QUEUE, destination=workers, reply=True, timeout=_REPLY_WITHIN)


class TenantQueues:
    """Tenant queues that take turns, D throttled."""

    title = "tenant queues"
    ledger = "turns"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._operator = Client(stage.api_url, stage.token(OPERATOR, operator=True))
        self._operator.change("D", rate_limit=D_RATE)

    def client(self, tenant: str) -> Client:
        """Return a new client that submits for the tenant."""
        return Client(self._stage.api_url, self._stage.token(tenant))

    def submit(self, client: Client) -> str:
        """Submit one task; return its id."""
        return client.submit(WORK, self.ledger, TASK_SECONDS)

    def hold(self) -> None:
        """Pause A."""
        self._operator.change("A", paused=True)

    def release(self) -> None:
        """Let A go on."""
        self._operator.change("A", paused=False)
