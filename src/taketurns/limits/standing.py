"""How all rates stand that a tenant has: its own, and those that tasks and settings give it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taketurns.limits.rate import parse_rate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taketurns.extension import TakeTurns
    from taketurns.limits.limiter import RateStatus
    from taketurns.limits.rate import RateLimit
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
    of_tasks: dict[str, RateLimit] = {}
    for task in tasks:
        own = settings.task_rate_limits.get(task.name)
        rate = parse_rate(own) if own else getattr(task, "task_rate", None)
        if rate is not None:
            of_tasks[task.name] = rate
    of_all = settings.rate_limit or turns.settings.limiter.default_rate_limit
    return turns.limiter.status(
        tenant,
        parse_rate(of_all) if of_all else None,
        of_tasks,
        {name: parse_rate(rate) for name, rate in settings.priority_rate_limits.items()},
    )
