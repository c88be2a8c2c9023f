"""How a tenant looks from outside."""

from taketurns.api.schemas import Backlog, TenantView
from taketurns.errors import ManagementUnavailable
from taketurns.extension import TakeTurns
from taketurns.management import QueueInfo
from taketurns.registry import TenantSettings
from taketurns.tenants import queue_name


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
        paused=settings.paused,
    )


def look_at(turns: TakeTurns, tenant: str, settings: TenantSettings) -> TenantView:
    """Return a tenant with its queue as far as RabbitMQ tells; never fails for the management API's sake."""
    try:
        queue = turns.management.queue(queue_name(tenant))
    except ManagementUnavailable:
        return tenant_view(tenant, settings, None).model_copy(update={"has_queue": None, "backlog": None})
    return tenant_view(tenant, settings, queue)


def _backlog(queue: QueueInfo | None) -> Backlog:
    if queue is None:
        return Backlog(ready=0, unacknowledged=0)
    return Backlog(ready=queue.ready, unacknowledged=queue.unacknowledged)
