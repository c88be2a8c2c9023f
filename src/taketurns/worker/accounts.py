"""What each tenant has had: the virtual times of fair queueing. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from taketurns.worker.commands import M
from taketurns.worker.estimates import Estimates

if TYPE_CHECKING:
    from taketurns.worker.line import Line
    from taketurns.worker.tenant import Taken, Tenant


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
        self._used: dict[str, float] = {}

    def estimate(self, tenant: Tenant[M]) -> float:
        """Return the estimated seconds of the tenant's next task."""
        return self.estimates.of(tenant.seconds, tenant.latest)

    def re_enter(self, tenant: Tenant[M]) -> None:
        """Let go of what a tenant would have had while it was idle or parked; or begin with a new one."""
        tenant.virtual = max(tenant.virtual, self.virtual)
        tenant.cost = self.estimate(tenant)

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
        taken.charged = taken.estimate / tenant.weight
        self._charge(tenant, taken.estimate, taken.charged)

    def undo(self, taken: Taken[M]) -> None:
        """Give back what was charged for a task that did not run."""
        self._charge(taken.tenant, -taken.estimate, -taken.charged)

    def end(self, taken: Taken[M], seconds: float) -> None:
        """Correct what was charged by what the task took."""
        tenant = taken.tenant
        self.estimates.learn(tenant.seconds, taken.kind, seconds)
        tenant.open = False
        self._charge(tenant, seconds - taken.estimate, seconds / tenant.weight - taken.charged)

    def charge(self, tenant: Tenant[M], seconds: float) -> None:
        """Charge a tenant for what its tasks took on other workers."""
        self._advance(tenant, seconds / tenant.weight)

    def take_used(self) -> dict[str, float]:
        """Return the seconds that each queue's tasks took here since the last call: for what runs, the estimate."""
        used, self._used = self._used, {}
        return used

    def _charge(self, tenant: Tenant[M], seconds: float, virtual: float) -> None:
        self._used[tenant.queue] = self._used.get(tenant.queue, 0.0) + seconds
        self._advance(tenant, virtual)

    def _advance(self, tenant: Tenant[M], virtual: float) -> None:
        tenant.virtual += virtual
        tenant.cost = self.estimate(tenant)
        if tenant.ticket:
            self._line.leave(tenant)
            self._line.join(tenant)
