"""The turns scheduler: which tenant's message this worker takes next. Pure: no I/O and no clock of its own.

Events come in as method calls; [Turns.decide][taketurns.worker.turns.Turns.decide] gives the commands that follow
from them. A queue is served in one of two ways:

- A queue believed empty is *listened* to: a consumer with a credit of one, by which the broker wakes the worker.
- A queue with a backlog is not consumed but *waits for its turn*: then up to one quantum of its messages is fetched,
  and the answers also tell how many are left. So the worker holds no message that it did not ask for.

The order of turns is that of self-clocked fair queueing (Golestani, INFOCOM 1994): each tenant has a virtual time
that its tasks' seconds advance, divided by its weight; next is the one whose next task ends at the least virtual
time, by estimate; who was idle or parked re-enters at the virtual time of those who wait, so that waiting earns no
credit. A task is charged an estimate when it starts and corrected by what it took when it ends.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Generic

from taketurns.worker.accounts import Accounts
from taketurns.worker.commands import Command, Fetch, GiveBack, M, Park, Start, Unlisten
from taketurns.worker.deadlines import Deadlines
from taketurns.worker.hand import Hand
from taketurns.worker.line import Line
from taketurns.worker.lookahead import Lookahead
from taketurns.worker.newcomers import Newcomers
from taketurns.worker.places import Places
from taketurns.worker.tenant import Tenant, order

if TYPE_CHECKING:
    from collections.abc import Iterator

FOREVER: Final = math.inf


class Turns(Generic[M]):
    """The state of every tenant queue that this worker serves, and the next commands.

    Args:
        max_credit: messages of one turn, at most.
        turn_seconds: how long a turn may keep all slots busy, by estimate (but always one message).

    Attributes:
        tenants: every tenant by its queue; like the others that follow, for others to look at only.
        hand: the messages that are not settled.
        line: who waits for a turn.
        accounts: what each tenant has had, and what tasks take.
        newcomers: who waits for the next slot that frees on any worker.
    """

    def __init__(self, *, max_credit: int = 8, turn_seconds: float = 0.02) -> None:
        self.tenants: dict[str, Tenant[M]] = {}
        self.hand: Hand[M] = Hand()
        self.line: Line[M] = Line()
        self.accounts = Accounts(self.line, turn_seconds)
        self.newcomers: Newcomers[M] = Newcomers(self.hand)
        self._lookahead = Lookahead(
            self.hand, self.line, self.accounts, max_credit=max_credit, turn_seconds=turn_seconds
        )
        self._deadlines: Deadlines[M] = Deadlines()
        self._places: Places[M] = Places(self.hand, self.line, self.accounts, self.newcomers)

    # ---- what is known

    def __contains__(self, queue: str) -> bool:
        tenant = self.tenants.get(queue)
        return tenant is not None and not tenant.removed

    def __iter__(self) -> Iterator[str]:
        return (queue for queue, tenant in self.tenants.items() if not tenant.removed)

    def __len__(self) -> int:
        return len(self.tenants)

    @property
    def in_hand(self) -> int:
        """Messages that are held and not started."""
        return self.hand.held

    @property
    def running(self) -> int:
        """Messages that are started and not settled."""
        return self.hand.running

    def holds(self, queue: str) -> bool:
        """Tell whether this worker listens to the queue, fetches from it, or holds or runs a message of it."""
        tenant = self.tenants.get(queue)
        return tenant is not None and bool(
            tenant.listening or tenant.fetching or tenant.hand or tenant.running
        )

    def next_deadline(self) -> float | None:
        """Return when there is something to decide although nothing happens, or None."""
        moments = (
            self._deadlines.first(),
            self._places.emptied.next_deadline(),
            self.newcomers.next_deadline(),
        )
        return min((moment for moment in moments if moment is not None), default=None)

    def others_wait(self, queue: str) -> bool:
        """Tell whether a message of any other tenant waits for a slot or a turn of this worker."""
        tenant = self.tenants.get(queue)
        return (
            any(each is not tenant for each in self.hand.holding)
            or self._lookahead.fetching > (tenant.fetching if tenant else 0)
            or any(each is not tenant for each in self.line)
            or any(each is not tenant for each in self.newcomers)
        )

    def contenders(self, waiting: int) -> Iterator[Tenant[M]]:
        """Give every tenant of which something is under way or runs here, and about so many of those that wait.

        Some come more than once; those that wait are about those whose turn is next.
        """
        yield from self.line.about_first(waiting)
        yield from self.newcomers
        yield from self._lookahead.asked
        for taken in self.hand.taken:
            yield taken.tenant

    def wants_slot(self, now: float) -> bool:
        """Tell whether a slot that is free now would be used, or a message be asked for that is to have it."""
        return bool(
            self._lookahead.fetching
            or self.newcomers.slots
            or any(tenant.not_before <= now for tenant in self.hand.holding)
            or self.line.next() is not None
        )

    # ---- queues come and go

    def add(self, queue: str, *, backlog: int | None = 0, owned: bool = True) -> None:
        """Serve the queue. With a backlog, or one that is unknown (None), it starts parked, waiting for a turn.

        A queue that is not owned is only helped with: served until it is found empty, and never listened to.
        """
        tenant = self.tenants.get(queue)
        if tenant is None:
            tenant = Tenant(queue, backlog=backlog, owned=owned)
            self.tenants[queue] = tenant
            self.accounts.re_enter(tenant)
        elif tenant.removed:
            tenant.removed = False
            tenant.backlog = backlog
            tenant.owned = owned
            self.accounts.re_enter(tenant)
        self._places.put(tenant)

    def listed(self, queue: str, backlog: int | None) -> None:
        """Take in what a listing says of a queue that is served: one believed empty may not be."""
        tenant = self.tenants.get(queue)
        if tenant is not None and backlog != 0 and tenant in self._places.emptied:
            tenant.backlog = backlog
            self._places.put(tenant)

    def own(self, queue: str, *, owned: bool) -> None:
        """Own a queue that is served from now on, or only help with it until it is empty."""
        tenant = self.tenants.get(queue)
        if tenant is not None and tenant.owned != owned:
            tenant.owned = owned
            if tenant.listening and not owned:
                self._places.unlisten(tenant)
            self._places.put(tenant)
            self._forget_if_done(tenant)

    def remove(self, queue: str) -> None:
        """Serve the queue no more: it is gone, or somebody cancelled it. Running messages settle as usual."""
        tenant = self.tenants.get(queue)
        if tenant is not None:
            tenant.removed = True
            self._places.withdraw(tenant)
            self._forget_if_done(tenant)

    def charge(self, queue: str, seconds: float, tasks: int) -> None:
        """Charge a tenant for the seconds of so many tasks that other workers have started, by its weight."""
        tenant = self.tenants.get(queue)
        if tenant is not None:
            self.accounts.charge(tenant, seconds)
            self._places.served_elsewhere(tenant, tasks)

    def set_weight(self, queue: str, weight: float) -> None:
        """Set the tenant's share; it counts for its backlog and for what it runs from now on."""
        if queue in self.tenants:
            self.accounts.set_weight(self.tenants[queue], weight)

    def set_rank(self, queue: str, rank: int) -> None:
        """Set how many other workers come before this one with a tenant's next task; see ``Accounts.told``."""
        if queue in self.tenants:
            self.tenants[queue].rank = rank

    def park(self, queue: str, reason: Park, until: float = FOREVER) -> None:
        """Take the queue off for a reason, until a time or until ``unpark``; the hand of it is given back."""
        tenant = self.tenants.get(queue)
        if tenant is None:
            return
        tenant.parked[reason] = until
        if until < FOREVER:
            self._deadlines.add(until, tenant, reason)
        self._places.withdraw(tenant)

    def unpark(self, queue: str, reason: Park) -> None:
        """End one reason; the queue waits for its turn once none is left."""
        tenant = self.tenants.get(queue)
        if tenant is not None and tenant.parked.pop(reason, None) is not None:
            self.accounts.re_enter(tenant)
            self._places.put(tenant)

    def parked(self, queue: str) -> frozenset[Park]:
        """Return the reasons for which the queue is off."""
        tenant = self.tenants.get(queue)
        return frozenset(tenant.parked if tenant else ())

    def end_turn(self, queue: str) -> None:
        """Give back the hand of a queue, which waits for its next turn."""
        tenant = self.tenants.get(queue)
        if tenant is not None and tenant.hand:
            self._places.end_turn(tenant)

    # ---- messages come

    def delivered(self, queue: str, message: M, kind: str = "") -> None:
        """A listened queue delivered a message of a kind of task; what else it holds is unknown."""
        tenant = self.tenants.get(queue)
        if tenant is None or tenant.removed or tenant.parked:
            self._places.commands.append(GiveBack(message))
            return
        if tenant.backlog == 0 and not tenant.hand:
            tenant.fresh = tenant.virtual <= self.accounts.virtual
            self.accounts.re_enter(tenant)
        self.newcomers.leave(tenant)
        tenant.backlog = None
        if tenant.listening:
            tenant.spent = message
        self.hand.take(tenant, message, kind)
        self._places.put(tenant)

    def fetched(self, queue: str, message: M, remaining: int | None, kind: str = "") -> None:
        """A fetch brought a message and left ``remaining`` in the queue; None: one less than was believed."""
        tenant = self._answered(queue)
        if tenant is None or tenant.removed or tenant.parked:
            self._places.commands.append(GiveBack(message))
            if tenant is not None:
                tenant.backlog = None
                self._forget_if_done(tenant)
            return
        if remaining is None:
            remaining = max((tenant.backlog or 0) - 1, 0)
        self.newcomers.leave(tenant)
        tenant.backlog = remaining
        tenant.fresh = tenant.fresh and tenant.virtual <= self.accounts.virtual
        if remaining and tenant.listening:
            self._places.unlisten(tenant)
        self.hand.take(tenant, message, kind)
        self._places.put(tenant)

    def fetch_empty(self, queue: str, *, count: int = 1) -> None:
        """``count`` fetches found the queue empty."""
        tenant = self._answered(queue, count, empty=True)
        if tenant is not None:
            tenant.backlog = 0
            tenant.fresh = False
            self._places.put(tenant)
            self._forget_if_done(tenant)

    def fetch_failed(self, queue: str, *, count: int = 1) -> None:
        """``count`` fetches were not made or got no answer; the queue waits for another turn."""
        tenant = self._answered(queue, count)
        if tenant is not None:
            tenant.backlog = None
            self._places.put(tenant)
            self._forget_if_done(tenant)

    def unlistened(self, queue: str) -> None:
        """The subscription was lost; it is made again if it is still wanted."""
        tenant = self.tenants.get(queue)
        if tenant is not None:
            tenant.listening, tenant.spent = False, None
            self._places.put(tenant)

    # ---- messages go

    def refused(self, message: M, until: float) -> None:
        """The limiter did not admit a message just started: it and the hand of its queue go back until then."""
        tenant = self._take_back(message)
        tenant.one_by_one = True
        # Parking ends the subscription; were the message given back before that, it would come straight back.
        self.park(tenant.queue, Park.THROTTLED, until)

    def postponed(self, message: M, until: float) -> None:
        """A message just started is to start in a moment; it is held till then, and its slot is for others."""
        tenant = self._take_back(message)
        tenant.one_by_one = True
        self.line.leave(tenant)
        tenant.not_before = until
        self._deadlines.add(until, tenant, None)

    def throttle(self, queue: str, until: float) -> None:
        """The limiter would not admit the tenant's next message before then; don't fetch it before."""
        tenant = self.tenants.get(queue)
        if tenant is not None:
            tenant.one_by_one = True
            if tenant.backlog != 0:
                self.park(queue, Park.THROTTLED, until)

    def unlimited(self, queue: str) -> None:
        """Nothing limits the tenant (any more)."""
        tenant = self.tenants.get(queue)
        if tenant is not None and (tenant.one_by_one or Park.THROTTLED in tenant.parked):
            tenant.one_by_one = False
            self._places.put(tenant)
            self.unpark(queue, Park.THROTTLED)

    def settling(self, message: M) -> list[Command[M]]:
        """Return what must be sent *before* the message's acknowledgement.

        The acknowledgement of a pushed message gives its consumer the credit for the next one. While the hand is
        full that next one would only be given back, so the subscription ends first and the queue waits its turn.
        """
        taken = self.hand.get(message)
        if taken is not None and taken.tenant.spent == message:
            tenant = taken.tenant
            tenant.spent = None
            if tenant.backlog is None and not tenant.fetching:
                tenant.listening = False
                return [Unlisten(tenant.queue)]
        return []

    def settled(self, message: M, now: float, *, ran: bool = True) -> None:
        """The message was acknowledged, rejected or requeued: its slot is free, and its cost is known.

        One that was started and not run, since it had expired or was poison, costs its tenant nothing.
        """
        taken = self.hand.settle(message)
        if taken is None:
            return
        tenant = taken.tenant
        if taken.started_at is not None:
            if ran:
                self.accounts.end(taken, now - taken.started_at)
            else:
                self.accounts.undo(taken, gone=True)
        self._places.put(tenant)
        self._forget_if_done(tenant)

    def vanished(self, message: M) -> None:
        """The broker took back a message (its channel is gone): one in the hand is dropped, a running one runs on."""
        taken = self.hand.get(message)
        if taken is not None and taken.started_at is None:
            self.hand.settle(message)
            taken.tenant.backlog = None
            self._places.put(taken.tenant)
            self._forget_if_done(taken.tenant)

    # ---- decisions

    def decide(self, *, slots: int, free: int, now: float) -> list[Command[M]]:
        """Return the commands that follow from all events so far; call again until none do.

        While something starts nothing is fetched: what became of the starts may forbid it, above all of a tenant
        whose message is held for its token and would get a second one for the same token.

        Args:
            slots: the messages that the worker can run at a time.
            free: how many more it could start now.
            now: the time, in seconds of the caller's monotonic clock.
        """
        self._unpark_due(now)
        self.newcomers.give_up(now)
        starts = self._start_some(slots, free, now)
        for tenant in self.newcomers.too_late(now, busy=free <= starts):
            self._places.offer(tenant, now)
        while self.hand.held > slots + self._lookahead.max_credit:
            self._places.give_back_last()
        for tenant in self._places.emptied.due(busy=free <= starts, now=now):
            self._places.put(tenant)
            self._forget_if_done(tenant)
        if not starts:
            for newcomer in self.newcomers.due(free):
                self._lookahead.ask(newcomer, 1)
                self._places.commands.append(Fetch(newcomer.queue, 1))
            for tenant in self._lookahead.in_the_way(slots, max(free, 0), now):
                self._places.end_turn(tenant)
            for tenant, count in self._lookahead.fetches(slots, max(free, 0), now):
                self._places.commands.append(Fetch(tenant.queue, count))
        return self._places.take_commands()

    def _start_some(self, slots: int, free: int, now: float) -> int:
        """Start what is next, as far as slots are free; return how many those were."""
        startable = [tenant for tenant in self.hand.holding if tenant.not_before <= now]
        starts = 0
        while startable:
            tenant = min(startable, key=order)
            kept = self.newcomers.slots - (self.newcomers.expected if tenant.fresh else 0)
            if free - kept <= starts:
                break
            if self._lookahead.is_overtaken(tenant, slots, free):
                startable.remove(tenant)
                continue
            starts += 1
            self._start(tenant, now)
            if not tenant.hand:
                startable.remove(tenant)
        return starts

    def _start(self, tenant: Tenant[M], now: float) -> None:
        message, taken = self.hand.start(tenant, now)
        self.accounts.start(taken)
        self._places.commands.append(Start(message))
        tenant.fresh = False
        self._places.put(tenant)

    def _take_back(self, message: M) -> Tenant[M]:
        """Hold a message again that was started a moment ago, and return what it was charged."""
        taken = self.hand.take_back(message)
        self.accounts.undo(taken, gone=False)
        return taken.tenant

    # ---- bookkeeping

    def _answered(self, queue: str, count: int = 1, *, empty: bool = False) -> Tenant[M] | None:
        tenant = self.tenants.get(queue)
        if tenant is not None:
            self._lookahead.answered(tenant, count)
            self.newcomers.answered(tenant, empty=empty)
        return tenant

    def _forget_if_done(self, tenant: Tenant[M]) -> None:
        if tenant.removed and not (tenant.running or tenant.fetching):
            self.tenants.pop(tenant.queue, None)

    def _unpark_due(self, now: float) -> None:
        while (due := self._deadlines.pop_due(now)) is not None:
            tenant, reason = due
            if reason is not None:
                self.unpark(tenant.queue, reason)
