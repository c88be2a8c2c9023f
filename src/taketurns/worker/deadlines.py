"""When parked queues and held messages are due: a heap whose outdated entries are skipped. Pure."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Generic

from taketurns.worker.commands import M

if TYPE_CHECKING:
    from taketurns.worker.commands import Park
    from taketurns.worker.tenant import Tenant


class Deadlines(Generic[M]):
    """The moments at which something is to be looked at again, the earliest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Tenant[M], Park | None]] = []
        self._serial = itertools.count()

    def add(self, until: float, tenant: Tenant[M], reason: Park | None) -> None:
        """Note when a tenant's park ends, or, without a reason, when its held message may start."""
        heapq.heappush(self._heap, (until, next(self._serial), tenant, reason))

    def first(self) -> float | None:
        """Return the earliest moment that still counts, or None."""
        while self._heap and not _counts(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> tuple[Tenant[M], Park | None] | None:
        """Take out the earliest one if its moment has come."""
        first = self.first()
        if first is None or first > now:
            return None
        _, _, tenant, reason = heapq.heappop(self._heap)
        return tenant, reason


def _counts(entry: tuple[float, int, Tenant[M], Park | None]) -> bool:
    until, _, tenant, reason = entry
    return (tenant.not_before if reason is None else tenant.parked.get(reason)) == until
