"""Removing a tenant at an operator's wish: with the reaper's protocol, but without waiting until it is idle."""

from typing import Final

from taketurns.extension import TakeTurns
from taketurns.reaper.policy import Decision, Snapshot, decide
from taketurns.reaper.removal import Removal
from taketurns.reaper.routes import Routes
from taketurns.reaper.workers import LiveWorkers
from taketurns.tenants import queue_name

_REASON: Final = "removed by an operator"


def remove_tenant(turns: TakeTurns, tenant: str) -> Decision | None:
    """Remove the tenant's settings and its queue, if that is there and empty; or nothing of them.

    Returns:
        What became of the queue, with the reason; None: there was neither a queue nor anything else known.

    Raises:
        ManagementUnavailable: it can't be told what the queue holds.
        BrokerUnavailable: the workers can't be asked what they hold.
        RegistryUnavailable: Redis is away.
    """
    known = turns.registry.exists(tenant)
    snapshot = _look(turns, tenant)
    candidate = Decision(tenant, queue_name(tenant), remove=True, reason=_REASON)
    if snapshot.queues:
        # Before the workers are disturbed: most refusals are plain to see.
        (outcome,) = decide(snapshot)
        if outcome.remove:
            (outcome,) = _remove_queue(turns, candidate)
        if not outcome.remove:
            return outcome
    elif not known:
        return None
    turns.registry.forget(tenant)
    turns.registry.clear_activity(tenant)
    return candidate


def _remove_queue(turns: TakeTurns, candidate: Decision) -> list[Decision]:
    timeout = turns.settings.broker.publish_timeout
    workers = LiveWorkers(turns.app, turns.registry, timeout=timeout)
    routes = Routes(turns.app, timeout=timeout)
    removal = Removal(
        management=turns.management,
        registry=turns.registry,
        workers=workers,
        routes=routes,
        settings=turns.settings.reaper,
        look=lambda: _look(turns, candidate.tenant),
        must_stop=lambda: None,
    )
    try:
        return removal.remove([candidate])
    finally:
        workers.disconnect()
        routes.disconnect()


def _look(turns: TakeTurns, tenant: str) -> Snapshot:
    """Return a snapshot of one tenant in which any time without activity counts as idle."""
    queue = turns.management.queue(queue_name(tenant))
    activity = turns.registry.activity().get(tenant, 0.0)
    draining = turns.registry.draining()
    seconds, microseconds = turns.store.call(lambda redis: redis.time())
    return Snapshot(
        queues={queue.name: queue} if queue else {},
        # A time to come is a delayed task's, and keeps the queue.
        activity={tenant: activity},
        now=seconds + microseconds / 1e6,
        idle_time=0.0,
        draining=draining,
    )
