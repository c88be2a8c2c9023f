"""Where each tenant's queue stands: listened to, waiting for a turn or for a slot, or off. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from taketurns.worker.commands import Command, GiveBack, Listen, M, Unlisten
from taketurns.worker.emptied import Emptied
from taketurns.worker.tenant import order

if TYPE_CHECKING:
    from taketurns.worker.accounts import Accounts
    from taketurns.worker.hand import Hand
    from taketurns.worker.line import Line
    from taketurns.worker.newcomers import Newcomers
    from taketurns.worker.tenant import Tenant


class Places(Generic[M]):
    """Moves queues between their places, and collects the commands that follow.

    Args:
        hand: the messages that are not settled.
        line: who waits for a turn.
        accounts: what tasks take, and the virtual time.
        newcomers: who waits for the next slot that frees on any worker.

    Attributes:
        emptied: who is to be listened to when there is time.
        commands: those that were not taken yet.
    """

    def __init__(self, hand: Hand[M], line: Line[M], accounts: Accounts[M], newcomers: Newcomers[M]) -> None:
        self.emptied: Emptied[M] = Emptied()
        self.commands: list[Command[M]] = []
        self._hand = hand
        self._line = line
        self._accounts = accounts
        self._newcomers = newcomers

    def take_commands(self) -> list[Command[M]]:
        """Return the commands, and forget them."""
        commands, self.commands = self.commands, []
        return commands

    def put(self, tenant: Tenant[M]) -> None:
        """Put the queue where its state says: listened to, waiting for a turn, or neither."""
        self.emptied.discard(tenant)
        if tenant.parked or tenant.removed or tenant.fetching or tenant in self._newcomers:
            return
        if tenant.backlog == 0:
            if tenant.spent is not None and not tenant.hand:
                # Its credit comes back only when the running task has ended; a new subscription has one at once.
                self.unlisten(tenant)
            if not tenant.hand and not tenant.owned:
                tenant.removed = True  # there is nothing more to help with
            elif not tenant.hand and not tenant.listening:
                tenant.listening = True
                self.commands.append(Listen(tenant.queue))
        elif not (tenant.one_by_one and tenant.hand):
            self._line.join(tenant)

    def withdraw(self, tenant: Tenant[M]) -> None:
        """Take the queue off: no subscription, no turn, nothing of it in the hand."""
        self._line.leave(tenant)
        self._newcomers.leave(tenant)
        self.emptied.discard(tenant)
        tenant.fresh = False
        if tenant.listening:
            self.unlisten(tenant)
        self._empty_hand(tenant)

    def unlisten(self, tenant: Tenant[M]) -> None:
        """End the subscription to the queue."""
        tenant.listening, tenant.spent = False, None
        self.commands.append(Unlisten(tenant.queue))

    def offer(self, tenant: Tenant[M], now: float) -> None:
        """Give a newcomer's message back, for whichever worker has a slot first."""
        self._line.leave(tenant)
        if tenant.listening:  # first, or the message would come straight back
            self.unlisten(tenant)
        self._empty_hand(tenant)
        self._newcomers.wait(tenant, now)

    def end_turn(self, tenant: Tenant[M]) -> None:
        """Give back what is in the hand of a tenant, which waits for its next turn."""
        if tenant.listening:  # first, or the messages would come straight back
            self.unlisten(tenant)
        backlog = None if tenant.backlog is None else tenant.backlog + len(tenant.hand)
        self._empty_hand(tenant)
        tenant.backlog = backlog
        self.put(tenant)

    def give_back_last(self) -> None:
        """Give back the message that would start last, which is seldom the one that came last."""
        tenant = max(self._hand.holding, key=order)
        message = self._hand.drop_last(tenant)
        tenant.backlog = None
        if tenant.listening:  # first, or the message would come straight back
            self.unlisten(tenant)
        self.commands.append(GiveBack(message))
        self.put(tenant)

    def served_elsewhere(self, tenant: Tenant[M], tasks: int) -> None:
        """Note that other workers have started so many of a tenant's tasks: their messages have left its queue."""
        if tenant.ticket and tenant.backlog:
            tenant.backlog = max(0, tenant.backlog - tasks)
            if not tenant.backlog:  # for all that is known; the subscription will tell
                self._line.leave(tenant)
                self.emptied.add(tenant)
        elif tenant in self._newcomers and tenant.virtual > self._accounts.virtual:
            self._newcomers.leave(tenant)
            tenant.fresh = False
            self.put(tenant)

    def _empty_hand(self, tenant: Tenant[M]) -> None:
        # A quorum queue has them again in the order of their return, at its head.
        hand = [self._hand.drop_last(tenant) for _ in range(len(tenant.hand))]
        self.commands += map(GiveBack, reversed(hand))
        tenant.backlog = None
