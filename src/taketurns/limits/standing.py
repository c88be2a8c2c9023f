"""How all rates stand that a tenant has: its own, and those that tasks and settings give it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taketurns.limits.book import LimitBook
from taketurns.limits.rate import parse_rate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taketurns.extension import TakeTurns
    from taketurns.limits.limiter import RateStatus
    from taketurns.registry import TenantSettings


def rates_of(
    turns: TakeTurns, tenant: str, settings: TenantSettings, tasks: Iterable[Any]
) -> list[RateStatus]:
    """Return how the rates of a tenant stand; nothing is charged.

    Args:
        turns: the app's TakeTurns.
        tenant: the tenant.
        settings: its settings.
        tasks: the tasks whose rates are told, each the tenant's own one for it or else the task's; any without one is
            left out.

    Raises:
        RegistryUnavailable: Redis is away.
    """
    default = turns.settings.limiter.default_rate_limit
    book = LimitBook({tenant: settings}, parse_rate(default) if default else None)
    of_tasks = {
        task.name: book.limits(tenant, task.name, getattr(task, "task_rate", None)).task_rate
        for task in tasks
    }
    return turns.limiter.status(
        tenant,
        book.limits(tenant, "").tenant_rate,
        {name: rate for name, rate in of_tasks.items() if rate is not None},
        {name: parse_rate(rate) for name, rate in settings.priority_rate_limits.items()},
    )
