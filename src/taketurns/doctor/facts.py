"""Everything that the checks go by, gathered from all servers at one time. Only looks: changes nothing anywhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from taketurns.connections import broker_properties
from taketurns.conversation import Conversation
from taketurns.dependencies.waiting import parent_of
from taketurns.doctor import broker_facts, redis_facts
from taketurns.doctor.told import Told
from taketurns.tenants import tenant_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celery import Celery

    from taketurns.doctor.broker_facts import BrokerFacts
    from taketurns.doctor.redis_facts import RedisFacts
    from taketurns.extension import TakeTurns
    from taketurns.settings import Settings

_PATIENCE: Final = 2.0
"""Seconds that RabbitMQ has for a connection."""

_ASKED: Final = 1000
"""Tenants with tasks that wait about whom the workers are asked, at most."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What each server told.

    Attributes:
        app: the Celery app.
        settings: the settings of taketurns.
        vhost: the vhost of the app's broker.
        broker: what RabbitMQ says of itself over AMQP.
        management: what its management API says.
        redis: what Redis says.
        unserved: by live worker, which tenants of ``waiting`` it does not serve; a silent one is missing.
        forgotten: tasks that others wait for and nobody remembers, each with its tenant and how many wait for it.
    """

    app: Celery
    settings: Settings
    vhost: str
    broker: Told[Mapping[str, Any]]
    management: BrokerFacts
    redis: Told[RedisFacts]
    unserved: Told[Mapping[str, Sequence[str]]]
    forgotten: Told[Mapping[tuple[str, str], int]]

    @property
    def waiting(self) -> dict[str, int]:
        """How many tasks wait, by tenant; those that hold none are left out.

        Raises:
            NotTold: the management API is away.
        """
        return _waiting(self.management)


def gather(turns: TakeTurns) -> Facts:
    """Ask all servers at once, and then the live workers; what is away is told by the facts themselves."""
    with ThreadPoolExecutor(2) as threads:
        broker = threads.submit(Told.ask, partial(broker_properties, turns.app, _PATIENCE))
        management = threads.submit(broker_facts.gather, turns.management)
        redis = Told.ask(partial(redis_facts.gather, turns))
    unserved = Told.ask(partial(_ask_workers, turns, broker.result(), management.result(), redis))
    forgotten = Told.ask(partial(_forgotten, turns, management.result()))
    return Facts(
        turns.app,
        turns.settings,
        turns.vhost,
        broker.result(),
        management.result(),
        redis,
        unserved,
        forgotten,
    )


def _ask_workers(
    turns: TakeTurns, broker: Told[Mapping[str, Any]], management: BrokerFacts, redis: Told[RedisFacts]
) -> dict[str, Sequence[str]]:
    broker.get()
    workers = redis.get().workers
    tenants = sorted(_waiting(management))[:_ASKED] if not management.reached.trouble else []
    with Conversation(turns.app, timeout=_PATIENCE) as conversation:
        answers = conversation.ask(workers, "taketurns_unserved", {"tenants": tenants})
    return {worker: answer["unserved"] for worker, answer in answers.items()}


def _forgotten(turns: TakeTurns, management: BrokerFacts) -> dict[tuple[str, str], int]:
    """Return the tasks that others wait for and of which nobody knows how they stand."""
    blocked: dict[str, dict[str, int]] = {}
    for name, queue in management.queues.get().items():
        if (found := parent_of(name)) is not None and queue.ready:
            blocked.setdefault(found[0], {})[found[1]] = queue.ready
    return {
        (tenant, parent): counts[parent]
        for tenant, counts in blocked.items()
        for parent, state in turns.dependencies.awaited.standings(tenant, list(counts)).items()
        if state is None
    }


def _waiting(management: BrokerFacts) -> dict[str, int]:
    return {
        tenant: queue.ready
        for name, queue in management.queues.get().items()
        if (tenant := tenant_of(name)) is not None and queue.ready
    }
