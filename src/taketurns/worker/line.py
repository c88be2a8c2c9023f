"""The tenants that wait for a turn, by whose is next: a heap whose outdated entries are skipped. Pure."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Final, Generic

from taketurns.worker.commands import M
from taketurns.worker.tenant import place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.worker.tenant import Tenant

_FEW: Final = 64
"""Outdated entries that nobody need mind."""


class Line(Generic[M]):
    """Who waits for a turn; of two at the same place who came first."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[bool, float], int, Tenant[M]]] = []
        self._tickets = itertools.count(1)
        self._waiting = 0

    def __iter__(self) -> Iterator[Tenant[M]]:
        return (tenant for _, ticket, tenant in self._heap if tenant.ticket == ticket)

    def about_first(self, count: int) -> list[Tenant[M]]:
        """Return about so many of those whose turn comes first, in no order; all if no more wait. Quick.

        It is the head of the heap: who is at the n-th place is among them probably.
        """
        found = self._head(count)
        if len(found) < min(count, self._waiting):  # outdated entries gather at the head
            self._tidy()
            found = self._head(count)
        return found

    def _head(self, count: int) -> list[Tenant[M]]:
        return [tenant for _, ticket, tenant in self._heap[: 2 * count + _FEW] if tenant.ticket == ticket]

    def join(self, tenant: Tenant[M]) -> None:
        """Let a tenant wait at its present place, unless it waits already."""
        if not tenant.ticket:
            tenant.ticket = next(self._tickets)
            self._waiting += 1
            if len(self._heap) > 2 * self._waiting + _FEW:
                self._tidy()
            heapq.heappush(self._heap, (place(tenant), tenant.ticket, tenant))

    def leave(self, tenant: Tenant[M]) -> None:
        """Let a tenant wait no longer; to have another place it joins again."""
        if tenant.ticket:
            tenant.ticket = 0
            self._waiting -= 1

    def next(self) -> Tenant[M] | None:
        """Return whose turn it is, or None if nobody waits."""
        while self._heap:
            _, ticket, tenant = self._heap[0]
            if ticket == tenant.ticket:
                return tenant
            heapq.heappop(self._heap)
        return None

    def _tidy(self) -> None:
        """Let go of outdated entries: those of the last in the line would come to the top late, or never."""
        self._heap = [entry for entry in self._heap if entry[1] == entry[2].ticket]
        heapq.heapify(self._heap)
