"""Newcomers that came while no slot was free: whichever worker has one first is to serve them. Pure.

A message that a full worker kept would wait for a slot of that worker, though another one may have one earlier. So it
goes back, to the next worker that listens, which does the same if it is full too. In the end it lies in its queue,
and every worker that has seen it asks for it as soon as a slot frees; that slot stays free until the answer comes.
(To ask a moment earlier, when a slot is expected to free, halved the median of the wait and doubled its 99th
percentile: as often as not another worker's slot frees first.)

A worker that asks just after it gave the message back may find the queue empty, since the message is with the next
full worker, which is about to give it back too: it listens then, and keeps the slot free for that moment.

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

_PASSED_ON: Final = 0.005
"""Seconds after which a message that was given back lies in its queue, or has started elsewhere."""


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
        self._given_back: dict[Tenant[M], float] = {}
        """When, those that wait or were asked for."""
        self._expected: dict[Tenant[M], float] = {}
        """Those whose queue was empty when they were asked for, and until when their message may come back."""
        self._kept: dict[Tenant[M], float] = {}
        """Those in the hand that expect a slot in a moment, and until when: tasks' ends are only estimated."""

    def __contains__(self, tenant: Tenant[M]) -> bool:
        return tenant.queue in self._waiting

    def __iter__(self) -> Iterator[Tenant[M]]:
        return iter(self._waiting.values())

    @property
    def slots(self) -> int:
        """How many free slots are theirs."""
        return len(self._waiting) + len(self.asked) + self.expected

    @property
    def expected(self) -> int:
        """How many of those slots are for messages that may come back at any moment, or never."""
        return len(self._expected)

    def wait(self, tenant: Tenant[M], now: float) -> None:
        """Let a tenant wait for the next slot that frees here; its message is given back now."""
        self._waiting[tenant.queue] = tenant
        self._given_back[tenant] = now

    def leave(self, tenant: Tenant[M]) -> None:
        """Let a tenant wait no longer."""
        self._waiting.pop(tenant.queue, None)
        self._given_back.pop(tenant, None)
        self._expected.pop(tenant, None)

    def due(self, free: int) -> list[Tenant[M]]:
        """Take out those whose messages are to be asked for now: who has waited longest, one for each free slot."""
        due = list(islice(self, max(0, free - len(self.asked) - self.expected)))
        for tenant in due:
            del self._waiting[tenant.queue]
            self.asked.add(tenant)
        return due

    def answered(self, tenant: Tenant[M], *, empty: bool) -> None:
        """Note that one who was asked for has come, or that the queue was empty."""
        if tenant in self.asked:
            self.asked.discard(tenant)
            given_back = self._given_back.pop(tenant, None)
            if empty and given_back is not None:
                self._expected[tenant] = given_back + _PASSED_ON

    def give_up(self, now: float) -> None:
        """Expect those no longer whose message would have come back by now."""
        for tenant in [tenant for tenant, until in self._expected.items() if until <= now]:
            del self._expected[tenant]

    def next_deadline(self) -> float | None:
        """Return when there is something to decide although nothing happens, or None."""
        return min((*self._expected.values(), *self._kept.values()), default=None)

    def too_late(self, now: float, *, busy: bool) -> list[Tenant[M]]:
        """Return the newcomers in the hand that no slot frees for soon enough. Costs next to nothing if none is.

        Args:
            now: the time of the scheduler's clock.
            busy: whether no slot is free.
        """
        kept, self._kept = self._kept, {}
        if not busy or self.patience == math.inf:
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
        self._kept = {
            tenant: until
            for tenant, seconds in zip(held, left, strict=False)
            if seconds <= self.patience and (until := kept.get(tenant, now + self.patience)) > now
        }
        return [tenant for tenant in held if tenant not in self._kept]
