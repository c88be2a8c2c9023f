"""What each tenant has had: the virtual times of fair queueing. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple

from taketurns.worker.commands import M
from taketurns.worker.estimates import Estimates

if TYPE_CHECKING:
    from collections.abc import Collection

    from taketurns.worker.line import Line
    from taketurns.worker.tenant import Taken, Tenant

_SMOOTHING: Final = 0.2


class Used(NamedTuple):
    """What tasks took: their seconds, for those that run the estimate, and how many started."""

    seconds: float
    tasks: int


_NOTHING: Final = Used(0.0, 0)


class Accounts(Generic[M]):
    """Charges tenants for their tasks' seconds, by their weights.

    Args:
        line: who waits for a turn; whose virtual time moves gets another place in it.
        estimate: seconds of a task while nothing is known.
    """

    def __init__(self, line: Line[M], estimate: float) -> None:
        self.virtual = 0.0
        """The virtual time: the least of those that wait or start, and never less than before."""
        self.estimates = Estimates(estimate)
        """What tasks take."""
        self._line = line
        self._used: dict[str, Used] = {}
        self._entered: dict[str, None] = {}
        self._pace = 0.0
        self._told_at = 0.0

    def estimate(self, tenant: Tenant[M]) -> float:
        """Return the estimated seconds of the tenant's next task."""
        return self.estimates.of(tenant.seconds, tenant.latest)

    def re_enter(self, tenant: Tenant[M]) -> None:
        """Let go of what a tenant would have had while it was idle or parked; or begin with a new one."""
        tenant.virtual = max(tenant.virtual, self.virtual)
        self._entered[tenant.queue] = None
        self._reckon(tenant)

    def set_weight(self, tenant: Tenant[M], weight: float) -> None:
        """Give a tenant another share; what it has had too much or too little stays as many seconds as it is.

        Else who is given more would first pay off what it was charged by the lower weight.
        """
        if weight == tenant.weight:
            return
        ahead = (tenant.virtual - self.virtual) * tenant.weight / weight
        tenant.weight = weight
        tenant.virtual = self.virtual + ahead
        self._advance(tenant, 0.0)

    def start(self, taken: Taken[M]) -> None:
        """Charge a tenant for a task that starts, by estimate."""
        tenant = taken.tenant
        # Not simply that of what starts: the later tasks of a turn are ahead of those who wait for theirs.
        waits = self._line.next()
        self.virtual = max(
            self.virtual, tenant.virtual if waits is None else min(tenant.virtual, waits.virtual)
        )
        taken.estimate = self.estimates.of(tenant.seconds, taken.kind)
        tenant.open = not tenant.seconds and not self.estimates.is_sure(taken.kind)
        self._charge(tenant, taken.estimate, 1)

    def undo(self, taken: Taken[M], *, gone: bool) -> None:
        """Give back what was charged for a task that did not run.

        Args:
            taken: its message.
            gone: the message has left the queue for good all the same.
        """
        self._charge(taken.tenant, -taken.estimate, 0 if gone else -1)

    def end(self, taken: Taken[M], seconds: float) -> None:
        """Correct what was charged by what the task took."""
        tenant = taken.tenant
        self.estimates.learn(tenant.seconds, taken.kind, seconds)
        tenant.open = False
        self._charge(tenant, seconds - taken.estimate, 0)

    def charge(self, tenant: Tenant[M], seconds: float) -> None:
        """Charge a tenant for what its tasks took on other workers."""
        self._advance(tenant, seconds / tenant.weight)

    def told(self) -> None:
        """Note that the other workers have just been heard; called at even intervals.

        Of a tenant whose next task is due all workers know it in the same moment, and would start one each. So they
        have an order, another one for each tenant, and let the time pass, for each that comes before, in which its
        start would have been heard of: the virtual time of two intervals, one until it tells and one until it is
        heard; but no more than the task takes, since of short ones one too many does not matter.
        """
        self._pace += _SMOOTHING * (self.virtual - self._told_at - self._pace)
        self._told_at = self.virtual

    def take_used(self) -> dict[str, Used]:
        """Return what each queue's tasks took here since the last call; less than nothing corrects what was told."""
        used, self._used = self._used, {}
        return used

    def take_entered(self) -> Collection[str]:
        """Return the queues whose tenants re-entered since the last call, and owe nothing for what was before."""
        entered, self._entered = self._entered, {}
        return entered

    def _charge(self, tenant: Tenant[M], seconds: float, tasks: int) -> None:
        before = self._used.get(tenant.queue, _NOTHING)
        self._used[tenant.queue] = Used(before.seconds + seconds, before.tasks + tasks)
        self._advance(tenant, seconds / tenant.weight)

    def _advance(self, tenant: Tenant[M], virtual: float) -> None:
        tenant.virtual += virtual
        self._reckon(tenant)
        if tenant.ticket:
            self._line.leave(tenant)
            self._line.join(tenant)

    def _reckon(self, tenant: Tenant[M]) -> None:
        tenant.cost = self.estimate(tenant)
        tenant.lag = min(tenant.rank * 2 * self._pace, tenant.cost / tenant.weight)
