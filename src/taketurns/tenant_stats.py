"""How many tasks of a tenant wait, run and have ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taketurns.conversation import Conversation
from taketurns.roster import known_tenant

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from taketurns.extension import TakeTurns
    from taketurns.roster import KnownTenant


@dataclass(frozen=True, slots=True)
class TenantStats:
    """How many tasks of a tenant wait, run and have ended.

    Attributes:
        tenant: the tenant.
        waiting: tasks that are to run as soon as may be, in its queue or in the hand of a worker; not the delayed
            ones. None: RabbitMQ did not tell in time.
        running: tasks that run. If a worker does not answer, what is in the hands counts as running too.
        completed: tasks that have ended well, as the workers have counted. One that is revoked, expired or tried
            again does not count.
        failed: tasks that have become dead letters, those that were replayed or discarded included.
        share: the part of all tasks that run which are its own, 0 to 1; None: it is not known what runs. Over time it
            is as its weight says while it has a backlog, but few slots have whole tasks.
        created_at: when it was created or first heard of, in seconds since 1970; None: unknown.
    """

    tenant: str
    waiting: int | None
    running: int | None
    completed: int
    failed: int
    share: float | None
    created_at: float | None


def stats(turns: TakeTurns, tenant: str) -> TenantStats:
    """Return how many tasks of a tenant wait, run and have ended.

    Takes about a second if a worker does not answer.

    Raises:
        InvalidTenant: the tenant id does not have the accepted form.
        UnknownTenant: it has neither a queue nor settings.
        ManagementUnavailable: it can't be told what its queue holds.
        RegistryUnavailable: Redis is away.
        BrokerUnavailable: the workers can't be asked.
    """
    workers = turns.registry.workers()
    with Conversation(turns.app, timeout=turns.settings.broker.publish_timeout) as conversation:
        answers = conversation.ask(workers, "taketurns_running")
    return counted(known_tenant(turns, tenant), running_of(workers, answers))


def running_of(
    workers: Collection[str], answers: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, int] | None:
    """Return how many tasks of each tenant run; None: a worker did not answer, or somebody else may run them.

    Args:
        workers: the live workers.
        answers: what they answered, the tenants whose tasks run among it.
    """
    if not workers or set(workers) - answers.keys():
        return None
    total: Counter[str] = Counter()
    for answer in answers.values():
        total.update(answer["tenants"])
    return total


def counted(known: KnownTenant, running: Mapping[str, int] | None) -> TenantStats:
    """Return the numbers of a tenant.

    Args:
        known: what is known of it.
        running: how many tasks of each tenant run, if every worker has answered.
    """
    held = known.unacknowledged
    # The workers were asked a moment before or after its queue.
    runs = held if running is None or held is None else min(held, running.get(known.tenant, 0))
    waiting = None if known.ready is None or held is None or runs is None else known.ready + held - runs
    return TenantStats(
        tenant=known.tenant,
        waiting=waiting,
        running=runs,
        completed=known.completed,
        failed=known.failed,
        share=None if running is None else running.get(known.tenant, 0) / max(1, sum(running.values())),
        created_at=known.created_at,
    )
