"""What to fetch ahead, so that a slot that frees finds the right message in the hand. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic

from taketurns.worker.commands import M
from taketurns.worker.tenant import place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.worker.accounts import Accounts
    from taketurns.worker.hand import Hand
    from taketurns.worker.line import Line
    from taketurns.worker.tenant import Tenant

_TOO_COSTLY: Final = 2
"""Times what it may that a turn of short tasks costs at most: estimates are not exact, and going back is not free."""


class Lookahead(Generic[M]):
    """Chooses whose messages are fetched, and how many: never more than the hand may hold.

    Args:
        hand: the messages that are not settled.
        line: who waits for a turn.
        accounts: what tasks take.
        max_credit: messages of one turn, at most.
        turn_seconds: how long a turn may keep all slots busy, by estimate (but always one message).
    """

    def __init__(
        self, hand: Hand[M], line: Line[M], accounts: Accounts[M], *, max_credit: int, turn_seconds: float
    ) -> None:
        self._hand = hand
        self._line = line
        self._accounts = accounts
        self.max_credit = max_credit
        self._turn_seconds = turn_seconds
        self.fetching = 0
        """Messages that were asked for and have not come."""
        self.asked: set[Tenant[M]] = set()
        """The tenants whose they are."""

    def fetches(self, slots: int, free: int, now: float) -> Iterator[tuple[Tenant[M], int]]:
        """Take tenants out of the line, and tell how many messages to ask for of each.

        Args:
            slots: the messages that the worker can run at a time.
            free: how many more it could start now.
            now: the time of the scheduler's clock.
        """
        wanted = slots + free
        while (tenant := self._line.next()) is not None:
            room = self._room(wanted)
            if room <= 0 or self._ready_before(tenant, slots, now) + self.fetching >= wanted:
                break
            self._line.leave(tenant)
            count = min(self._turn_size(tenant, slots), room)
            self.ask(tenant, count)
            yield tenant, count

    def in_the_way(self, slots: int, free: int, now: float) -> list[Tenant[M]]:
        """Return the tenants whose messages are not due any more and leave the next turn too little room in the hand.

        That are those whose turn has cost far more than expected: what is left of it would wait here for its next
        one, and with a few of them the turns of all others would get short. Not those of which a task runs, since
        what it was charged is not final. See ``fetches`` for the arguments.
        """
        tenant = self._line.next()
        if tenant is None or self._room(slots + free) >= self._turn_size(tenant, slots):
            return []
        limit = place(tenant)
        return [
            each
            for each in self._hand.holding
            if not (
                each.running
                or each.fetching  # what comes would be ahead of what goes back
                or each.fresh
                or each.not_before > now
                or self._goes_on(each, limit, slots)
            )
        ]

    def ask(self, tenant: Tenant[M], count: int) -> None:
        """Note that so many messages are asked for."""
        tenant.fetching += count
        self.fetching += count
        self.asked.add(tenant)

    def answered(self, tenant: Tenant[M], count: int) -> None:
        """Note that so many messages have come, or will not."""
        tenant.fetching -= count
        self.fetching -= count
        if not tenant.fetching:
            self.asked.discard(tenant)

    def is_overtaken(self, tenant: Tenant[M], slots: int, free: int) -> bool:
        """Tell whether a message that is asked for, or can be, comes before the tenant's, which is in the hand.

        That happens when its tasks turn out to be long after some of them were fetched. The slot is better kept free
        for the moment until the answer comes. See ``fetches`` for the arguments.
        """
        if tenant.fresh or self._is_short(tenant):
            return False
        if not all(self._goes_on(tenant, place(each), slots) for each in self.asked):
            return True
        waits = self._line.next()
        return (
            waits is not None
            and not self._goes_on(tenant, place(waits), slots)
            and self._room(slots + free) > 0
        )

    def _room(self, wanted: int) -> int:
        return wanted + self.max_credit - self._hand.held - self.fetching

    def _turn_size(self, tenant: Tenant[M], slots: int) -> int:
        estimate = self._accounts.estimate(tenant)
        if tenant.one_by_one or estimate <= 0:
            return 1
        quantum = max(1, min(self.max_credit, int(slots * self._turn_seconds / estimate)))
        return min(quantum, 1 if tenant.backlog is None else tenant.backlog)

    def _ready_before(self, tenant: Tenant[M], slots: int, now: float) -> int:
        """Count the messages in the hand that may start now and come before the tenant's.

        What is held for its token fills no slot.
        """
        limit = place(tenant)
        return sum(
            len(each.hand)
            for each in self._hand.holding
            if each.not_before <= now and self._goes_on(each, limit, slots)
        )

    def _goes_on(self, tenant: Tenant[M], limit: tuple[bool, float], slots: int) -> bool:
        """Tell whether the tenant, of which something is in the hand, comes before a place in the line.

        A turn goes on to its end though each of its tasks is charged, but not beyond what it may cost: what turned
        out to take longer is not next any more. There is one limit for what starts, for what keeps others from being
        fetched and for what goes back: what is none of these would lie in the hand until all others had a turn, and
        theirs would be the shorter for it.
        """
        may_cost = slots * self._turn_seconds
        if self._is_short(tenant):
            may_cost *= _TOO_COSTLY
        is_open, virtual = place(tenant)
        return (is_open, virtual - may_cost / tenant.weight) <= limit

    def _is_short(self, tenant: Tenant[M]) -> bool:
        """Tell whether several of the tenant's tasks fit into a turn."""
        return self._accounts.estimate(tenant) <= self._turn_seconds
