"""For how long a task is put off that was refused and waits in no queue of its tenant's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taketurns.errors import RegistryUnavailable

if TYPE_CHECKING:
    from taketurns.limits.limiter import Admission, Limits
    from taketurns.store import Store

CONCURRENCY_POLL: Final = 0.25
"""Seconds in which all that a tenant may run at once are looked at again: nobody knows when one ends."""

LONGEST: Final = 600.0
"""Seconds after which a task asks again in any case, if it may be admitted then: limits change."""


class PutOffs:
    """Spaces the put-off tasks of a tenant as its limit would, so that each start costs about one question."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._put_off = store.script(__package__, "gcra.lua", "put_off.lua")

    def seconds(self, tenant: str, task: str, limits: Limits, refusal: Admission) -> float:
        """Return the seconds after which a refused task is to ask again.

        While Redis is away, that is when it may be admitted, as if no other waited.

        Args:
            tenant: the tenant.
            task: the name of the task.
            limits: its limits, at least one.
            refusal: what the limiter has answered.
        """
        step = next((rate.interval for reason, rate in limits.rates() if reason == refusal.reason), None)
        if step is None:
            step = CONCURRENCY_POLL / (limits.max_concurrency or 1)
        return self.spaced(tenant, task, refusal.retry_after, step)

    def spaced(self, tenant: str, what: str, seconds: float, step: float) -> float:
        """Return the seconds after which one that waits is to ask again: after those that were put off before it.

        Args:
            tenant: the tenant.
            what: what it waits for, such as the name of a task.
            seconds: those after which it is to ask at the soonest; while Redis is away they are the answer.
            step: seconds after the one before it.
        """
        key = self._store.tenant_key(tenant, "put_off", what)
        try:
            wait = self._put_off([key], [part * 1e6 for part in (seconds, step, LONGEST)])
        except RegistryUnavailable:
            return seconds
        return float(wait) / 1e6
