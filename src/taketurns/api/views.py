"""How a tenant and a dead letter look from outside."""

from collections.abc import Mapping
from dataclasses import asdict

from taketurns.api.schemas import Backlog, DeadLetterSummary, DeadLetterView, TenantView
from taketurns.deadletters.letter import DeadLetter
from taketurns.errors import ManagementUnavailable
from taketurns.extension import TakeTurns
from taketurns.management import QueueInfo
from taketurns.registry import TenantSettings
from taketurns.tenants import queue_name, tenant_of


def tenant_view(tenant: str, settings: TenantSettings, queue: QueueInfo | None) -> TenantView:
    """Return a tenant with its queue as the live listing has it; None: it has none at present."""
    return TenantView(
        tenant=tenant,
        queue=queue_name(tenant),
        has_queue=queue is not None,
        backlog=_backlog(queue),
        rate_limit=settings.rate_limit,
        task_rate_limits=dict(settings.task_rate_limits),
        weight=settings.weight,
        max_concurrency=settings.max_concurrency,
        burst_when_idle=settings.burst_when_idle,
        max_backlog=settings.max_backlog,
        priority_rate_limits=dict(settings.priority_rate_limits),
        paused=settings.paused,
        tags=dict(settings.tags),
        metadata=dict(settings.metadata),
    )


class KnownTenants:
    """The tenants that have a queue, as RabbitMQ lists them now, or settings of their own.

    Args:
        turns: the app's TakeTurns.
        tags: leave out the tenants that have not all of these tags with these values.

    Attributes:
        names: the tenants, in the order of their ids.

    Raises:
        ManagementUnavailable: it can't be told which queues there are.
        RegistryUnavailable: Redis is away.
    """

    def __init__(self, turns: TakeTurns, *, tags: Mapping[str, str]) -> None:
        listed = {tenant_of(name): queue for name, queue in turns.management.tenant_queues().items()}
        self._queues = {tenant: queue for tenant, queue in listed.items() if tenant is not None}
        self._settings = turns.registry.all(tags=tags)
        # Only settings have tags.
        self.names = sorted(self._settings if tags else self._settings.keys() | self._queues.keys())

    def view(self, tenant: str) -> TenantView:
        """Return one of them."""
        return tenant_view(tenant, self._settings.get(tenant, TenantSettings()), self._queues.get(tenant))


def known_tenant(turns: TakeTurns, tenant: str) -> TenantView | None:
    """Return a tenant that has a queue or settings, or any activity; None: nothing is known of it.

    Raises:
        InvalidTenant: the tenant id does not have the accepted form.
        ManagementUnavailable: it can't be told whether it has a queue.
        RegistryUnavailable: Redis is away.
    """
    queue = turns.management.queue(queue_name(tenant))
    if queue is None and not turns.registry.exists(tenant):
        return None
    return tenant_view(tenant, turns.registry.get(tenant), queue)


def look_at(turns: TakeTurns, tenant: str, settings: TenantSettings) -> TenantView:
    """Return a tenant with its queue as far as RabbitMQ tells; never fails for the management API's sake."""
    try:
        queue = turns.management.queue(queue_name(tenant))
    except ManagementUnavailable:
        return tenant_view(tenant, settings, None).model_copy(update={"has_queue": None, "backlog": None})
    return tenant_view(tenant, settings, queue)


def letter_summary(letter: DeadLetter) -> DeadLetterSummary:
    """Return a dead letter as one of many."""
    fields = asdict(letter)
    return DeadLetterSummary(**{name: fields[name] for name in DeadLetterSummary.model_fields})


def letter_view(letter: DeadLetter) -> DeadLetterView:
    """Return a dead letter with all that is known of it."""
    return DeadLetterView(**asdict(letter))


def _backlog(queue: QueueInfo | None) -> Backlog:
    if queue is None:
        return Backlog(ready=0, unacknowledged=0)
    return Backlog(ready=queue.ready, unacknowledged=queue.unacknowledged)
