"""Tenants as their operators know them: settings, queue and past of each, put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from taketurns.errors import ManagementUnavailable, UnknownTenant
from taketurns.registry import TenantSettings
from taketurns.registry.history import Past
from taketurns.tenants import queue_name, tenant_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.extension import TakeTurns
    from taketurns.management import QueueInfo


@dataclass(frozen=True, slots=True)
class KnownTenant:
    """What is known of a tenant.

    Attributes:
        tenant: its id.
        queue: the name of its queue.
        has_queue: whether the queue is there at present; None: unknown.
        ready: tasks that wait in it; None: unknown.
        unacknowledged: tasks of it that workers hold or run; None: unknown.
        settings: what an operator has set.
        completed: its tasks that have ended well.
        failed: its tasks that have become dead letters.
        created_at: when it was created or first heard of, in seconds since 1970; None: unknown.
    """

    tenant: str
    queue: str
    has_queue: bool | None
    ready: int | None
    unacknowledged: int | None
    settings: TenantSettings
    completed: int
    failed: int
    created_at: float | None


def known_tenants(turns: TakeTurns, *, tags: Mapping[str, str]) -> list[KnownTenant]:
    """Return the tenants that have a queue or settings of their own, in the order of their ids.

    Args:
        turns: the app's TakeTurns.
        tags: leave out the tenants that have not all of these tags with these values.

    Raises:
        ManagementUnavailable: it can't be told which queues there are.
        RegistryUnavailable: Redis is away.
    """
    listed = {tenant_of(name): queue for name, queue in turns.management.tenant_queues().items()}
    queues = {tenant: queue for tenant, queue in listed.items() if tenant is not None}
    settings = turns.registry.all(tags=tags)
    past = turns.registry.history.all()
    names = settings if tags else settings.keys() | queues.keys()  # only settings have tags
    return [
        known(name, settings.get(name, TenantSettings()), past.get(name, Past()), queues.get(name))
        for name in sorted(names)
    ]


def known_tenant(turns: TakeTurns, tenant: str) -> KnownTenant:
    """Return a tenant that has a queue or settings, or any activity.

    Raises:
        InvalidTenant: the tenant id does not have the accepted form.
        UnknownTenant: nothing is known of it.
        ManagementUnavailable: it can't be told whether it has a queue.
        RegistryUnavailable: Redis is away.
    """
    queue = turns.management.queue(queue_name(tenant))
    if queue is None and not turns.registry.exists(tenant):
        raise UnknownTenant(tenant)
    return known(tenant, turns.registry.get(tenant), turns.registry.history.of(tenant), queue)


def look_at(turns: TakeTurns, tenant: str, settings: TenantSettings) -> KnownTenant:
    """Return a tenant with its queue as far as RabbitMQ tells; never fails for the management API's sake.

    While that is silent it takes as long as a submission may (``publish_timeout``).

    Raises:
        RegistryUnavailable: Redis is away.
    """
    past = turns.registry.history.of(tenant)
    try:
        queue = turns.management.queue(queue_name(tenant), timeout=turns.settings.broker.publish_timeout)
        return known(tenant, settings, past, queue)
    except ManagementUnavailable:
        return known(tenant, settings, past, None, is_told=False)


def known(
    tenant: str, settings: TenantSettings, past: Past, queue: QueueInfo | None, *, is_told: bool = True
) -> KnownTenant:
    """Put together what is known of a tenant.

    Args:
        tenant: the tenant.
        settings: its settings.
        past: its past.
        queue: its queue; None if it has none.
        is_told: whether the management API has told so.
    """
    nothing = 0 if is_told else None
    return KnownTenant(
        tenant=tenant,
        queue=queue_name(tenant),
        has_queue=queue is not None if is_told else None,
        ready=nothing if queue is None else queue.ready,
        unacknowledged=nothing if queue is None else queue.unacknowledged,
        settings=settings,
        completed=past.completed,
        failed=past.failed,
        created_at=min(filter(None, (settings.created_at, past.created_at)), default=None),
    )
