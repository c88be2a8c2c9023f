"""Which limits a task of a tenant has, from the tenants' settings. Pure: no I/O."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from taketurns.limits.limiter import Limits
from taketurns.limits.rate import RateLimit, parse_rate
from taketurns.topology import PRIORITIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.registry import TenantSettings

_NAMES = sorted(PRIORITIES, key=PRIORITIES.__getitem__)
_rate = lru_cache(maxsize=4096)(parse_rate)


class LimitBook:
    """The limits of all tenants at one moment.

    Args:
        tenants: the settings of those tenants that have settings of their own.
        default_rate: the rate of each tenant that has none of its own.
    """

    def __init__(self, tenants: Mapping[str, TenantSettings], default_rate: RateLimit | None = None) -> None:
        self._tenants = tenants
        self._default = Limits(tenant_rate=default_rate)

    def has_maximum(self, tenant: str) -> bool:
        """Tell whether only so many tasks of a tenant may run at once."""
        settings = self._tenants.get(tenant)
        return settings is not None and settings.max_concurrency is not None

    def limits(
        self, tenant: str, task: str, task_rate: RateLimit | None = None, priority: int | None = None
    ) -> Limits:
        """Return the limits of one kind of task of one tenant.

        Args:
            tenant: the tenant.
            task: the name of the task.
            task_rate: the task's own ``rate_limit_per_tenant``, for tenants without another for this task.
            priority: the message's priority; None is the lowest, as it is to the broker.
        """
        settings = self._tenants.get(tenant)
        if settings is None:
            return Limits(tenant_rate=self._default.tenant_rate, task_rate=task_rate)
        own = settings.task_rate_limits.get(task)
        name = _NAMES[max(0, min(priority or 0, len(_NAMES) - 1))]
        of_priority = settings.priority_rate_limits.get(name)
        return Limits(
            tenant_rate=_rate(settings.rate_limit) if settings.rate_limit else self._default.tenant_rate,
            task_rate=_rate(own) if own else task_rate,
            max_concurrency=settings.max_concurrency,
            priority_rate=_rate(of_priority) if of_priority else None,
            priority=name if of_priority else "",
            burst_when_idle=settings.burst_when_idle,
        )
