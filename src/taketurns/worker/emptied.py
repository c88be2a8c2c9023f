"""Queues that other workers have emptied, by what they told: subscribed to when there is time. Pure.

A subscription costs the broker as much as two or three tasks' messages, and whoever emptied the queue has one.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, Generic

from taketurns.worker.commands import M

if TYPE_CHECKING:
    from taketurns.worker.tenant import Tenant

_INTERVAL: Final = 0.01
"""Seconds between two subscriptions while every slot is busy."""

_AT_ONCE: Final = 20
"""Subscriptions in that time while a slot is free."""


class Emptied(Generic[M]):
    """The queues that are believed empty and not listened to yet."""

    def __init__(self) -> None:
        self._queues: dict[str, Tenant[M]] = {}
        self._next_at = 0.0

    def __contains__(self, tenant: Tenant[M]) -> bool:
        return tenant.queue in self._queues

    def add(self, tenant: Tenant[M]) -> None:
        """Note that a tenant's queue is to be listened to."""
        self._queues[tenant.queue] = tenant

    def discard(self, tenant: Tenant[M]) -> None:
        """Note that something else has become of it."""
        self._queues.pop(tenant.queue, None)

    def next_deadline(self) -> float | None:
        """Return when the next ones are due, or None."""
        return self._next_at if self._queues else None

    def due(self, *, busy: bool, now: float) -> list[Tenant[M]]:
        """Take out those that are listened to now."""
        if not self._queues or now < self._next_at:
            return []
        self._next_at = now + _INTERVAL
        due = list(islice(self._queues.values(), 1 if busy else _AT_ONCE))
        for tenant in due:
            del self._queues[tenant.queue]
        return due
