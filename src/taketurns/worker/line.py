"""The tenants that wait for a turn, by virtual time: a heap whose outdated entries are skipped. Pure."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Generic

from taketurns.worker.commands import M

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.worker.tenant import Tenant


class Line(Generic[M]):
    """Who waits for a turn; of two with the same virtual time who came first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Tenant[M]]] = []
        self._tickets = itertools.count(1)

    def __iter__(self) -> Iterator[Tenant[M]]:
        return (tenant for _, ticket, tenant in self._heap if tenant.ticket == ticket)

    def first(self, count: int) -> list[Tenant[M]]:
        """Return those whose turn comes first."""
        return heapq.nsmallest(count, self, key=lambda tenant: tenant.virtual)

    def join(self, tenant: Tenant[M]) -> None:
        """Let a tenant wait by its present virtual time, unless it waits already."""
        if not tenant.ticket:
            tenant.ticket = next(self._tickets)
            heapq.heappush(self._heap, (tenant.virtual, tenant.ticket, tenant))

    def leave(self, tenant: Tenant[M]) -> None:
        """Let a tenant wait no longer; to have another place it joins again."""
        tenant.ticket = 0

    def next(self) -> Tenant[M] | None:
        """Take out whose turn it is, or None if nobody waits."""
        while self._heap:
            _, ticket, tenant = heapq.heappop(self._heap)
            if ticket == tenant.ticket:
                tenant.ticket = 0
                return tenant
        return None
