"""Celery's task consumer, in a worker that serves tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu import Consumer as KombuConsumer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kombu import Queue

    from taketurns.worker.step import TenantQueues


class TaskConsumer(KombuConsumer):
    """Celery's task consumer, which also answers for the tenant queues.

    ``inspect active_queues`` and a cold shutdown reach a worker's queues only through this object.
    """

    def __init__(self, channel: Any, *, step: TenantQueues, **options: Any) -> None:
        self._step = step
        super().__init__(channel, **options)

    @property
    def queues(self) -> list[Queue]:
        """The ordinary queues, then the tenant queues up to the number that the settings name."""
        return [*self._queues.values(), *self._step.listed_queues()]

    @queues.setter
    def queues(self, queues: Iterable[Queue]) -> None:
        self._queues = {queue.name: queue for queue in queues}

    def cancel(self) -> None:
        """Stop consuming, tenant queues included; what is not started goes back."""
        super().cancel()
        self._step.give_back()
