"""Newcomers that came while no slot was free: whichever worker has one first is to serve them. Pure.

A message that a full worker kept would wait for a slot of that worker, though another one may have one earlier. So it
goes back, to the next worker that listens, which does the same if it is full too. In the end it lies in its queue,
and every worker that has seen it asks for it as soon as a slot frees; that slot stays free until the answer comes.
(To ask a moment earlier, when a slot is expected to free, halved the median of the wait and doubled its 99th
percentile: as often as not another worker's slot frees first.)

Each worker that is tried costs a delivery. So a worker keeps a message that can start within its *patience*, and that
has to grow with the number of workers.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Final, Generic

from taketurns.worker.commands import M
from taketurns.worker.tenant import order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.worker.hand import Hand
    from taketurns.worker.tenant import Tenant

_DELIVERIES: Final = 2000
"""A second, at most, that workers cause by giving back, if all that all of them run are newcomers' tasks."""


def patience(workers: int) -> float:
    """Return the seconds within which a worker keeps a newcomer's message for its own next slot.

    With W workers of S slots and tasks of E seconds there are at most W · S / E newcomers a second, each delivered W
    times, and a worker's next slot frees in about E / S.

    Args:
        workers: how many listen to each queue. A worker by itself keeps every message.
    """
    return workers * workers / _DELIVERIES if workers > 1 else math.inf


class Newcomers(Generic[M]):
    """Which newcomers wait for a slot, and for how many of them one is kept free.

    Args:
        hand: the messages that are not settled.

    Attributes:
        patience: see the function of that name.
        asked: newcomers whose message was asked for and has not come.
    """

    def __init__(self, hand: Hand[M]) -> None:
        self.patience = math.inf
        self.asked: set[Tenant[M]] = set()
        self._hand = hand
        self._waiting: dict[str, Tenant[M]] = {}

    def __contains__(self, tenant: Tenant[M]) -> bool:
        return tenant.queue in self._waiting

    def __iter__(self) -> Iterator[Tenant[M]]:
        return iter(self._waiting.values())

    @property
    def slots(self) -> int:
        """How many free slots are theirs."""
        return len(self._waiting) + len(self.asked)

    def wait(self, tenant: Tenant[M]) -> None:
        """Let a tenant wait for the next slot that frees here."""
        self._waiting[tenant.queue] = tenant

    def leave(self, tenant: Tenant[M]) -> None:
        """Let a tenant wait no longer."""
        self._waiting.pop(tenant.queue, None)

    def due(self, free: int) -> list[Tenant[M]]:
        """Take out those whose messages are to be asked for now: who has waited longest, one for each free slot."""
        due = list(islice(self, max(0, free - len(self.asked))))
        for tenant in due:
            self.leave(tenant)
            self.asked.add(tenant)
        return due

    def too_late(self, now: float) -> list[Tenant[M]]:
        """Return the newcomers in the hand that no slot frees for soon enough. Costs next to nothing if none is."""
        if self.patience == math.inf:
            return []
        held = [each for each in self._hand.holding if each.fresh and not (each.one_by_one or each.fetching)]
        if not held:
            return []
        held.sort(key=order)
        # What has taken longer than expected goes on about as much longer, for all that is known.
        left = sorted(
            abs(taken.estimate - (now - taken.started_at))
            for taken in self._hand.taken
            if taken.started_at is not None
        )
        left += [math.inf] * len(held)  # other tasks than tenants' may have the slots
        return [tenant for tenant, seconds in zip(held, left, strict=False) if seconds > self.patience]
