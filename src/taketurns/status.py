"""How the whole system is doing, in one call: its servers, its workers, and what waits in it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ConfigDict, with_config

from taketurns.connections import broker_version
from taketurns.conversation import Conversation
from taketurns.errors import TaketurnsError
from taketurns.sample import Sample, count
from taketurns.tenants import tenant_of
from taketurns.topology import DEAD_QUEUE, LOST_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taketurns.extension import TakeTurns
    from taketurns.management import Management, QueueInfo
    from taketurns.registry import TenantSettings

T = TypeVar("T")

PATIENCE: Final = 2.0
"""Seconds that RabbitMQ has for a connection."""

# The API shows these classes as they are; the docstrings are the descriptions in its OpenAPI document.
_documented = with_config(ConfigDict(use_attribute_docstrings=True))


@_documented
@dataclass(frozen=True, slots=True)
class ServerStatus:
    """Whether a server answers."""

    ok: bool
    version: str | None = None
    """The server's version, if it answers."""
    message: str = ""
    """What is wrong, if it does not."""


@_documented
@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker that serves tenants, as it says itself."""

    name: str
    """Its Celery name."""
    pid: int
    """Its main process."""
    running: int
    """Tasks of tenants that it runs."""
    hand: int
    """Tasks that it holds and has not started."""
    queues: int
    """Tenant queues that it serves."""
    throttled: int
    """Those of them from which it takes nothing until a limit lets the next task start; it does not know which of
    them are empty."""
    loop_lag: float
    """Seconds by which its loop was late at worst, since anybody asked before."""


@_documented
@dataclass(frozen=True, slots=True)
class OldestWait:
    """The longest wait at the head of a tenant queue."""

    tenant: str
    """Whose task it is."""
    seconds: float
    """Since the task was submitted, or since it was due if it was submitted for later. From RabbitMQ's statistics
    of the last six seconds."""
    at_most: bool
    """Tasks of this tenant are running or held. RabbitMQ counts those too, so the waiting ones may wait less."""


@_documented
@dataclass(frozen=True, slots=True)
class SystemStatus:
    """How the system is doing. null: what tells it is away."""

    broker: ServerStatus
    """RabbitMQ. Without it nothing is accepted and nothing runs."""
    management: ServerStatus
    """RabbitMQ's management API. Without it no backlog can be told."""
    redis: ServerStatus
    """Redis. Without it no settings can be told, and not which workers live."""
    workers: list[WorkerStatus] | None
    """The live workers that answered, by name."""
    silent: list[str] | None
    """The workers that did not answer within a second, by name. One with the solo pool is silent while it runs a
    task. One that was killed or hangs is named for ten minutes, or until one of its name is there again."""
    tenants: int | None
    """Tenants that have a queue or settings of their own."""
    paused: int | None
    """Tenants that an operator has paused."""
    throttled: int | None
    """Tenants with a task that waits, of which a worker that answered takes nothing now, until a rate or
    `max_concurrency` lets the next one start; not those that are paused. Each counts once, on however many workers.
    Exact while no worker has more than 1,000, else an estimate with a standard error of 3 %."""
    ready: int | None
    """Tasks that wait in the tenant queues."""
    unacknowledged: int | None
    """Tasks of tenants that workers hold or run."""
    uncounted: int | None
    """Tenant queues that did not tell in time what they hold; it is missing in the two sums."""
    running: int | None
    """Tasks of tenants that run in the workers that answered."""
    dead: int | None
    """Dead letters: tasks that failed for good or can never run, and that nobody has replayed or discarded."""
    lost: int | None
    """Tasks that were published for a queue which was just removed; the reaper sends them on."""
    oldest_wait: OldestWait | None
    """null also if nothing waits, or if what waits has come within the last six seconds. Of a tenant's tasks, only
    those of the highest priority that it has are looked at."""

    @property
    def ok(self) -> bool:
        """Whether all three servers answer."""
        return self.broker.ok and self.management.ok and self.redis.ok


@dataclass(frozen=True, slots=True)
class _Known:
    """What Redis knows."""

    version: str
    workers: list[str]
    lost: list[str]
    settings: Mapping[str, TenantSettings]


@dataclass(frozen=True, slots=True)
class _Queues:
    """What the management API tells; the queues by tenant."""

    version: str
    queues: Mapping[str, QueueInfo]
    dead: int | None
    lost: int | None
    oldest_wait: OldestWait | None


def look(turns: TakeTurns) -> SystemStatus:
    """Return how the system of an app is doing; never fails, since what is away is told.

    Asks everybody at once, and takes about a second if a worker is silent. A server that does not even refuse is
    waited for: RabbitMQ for two seconds, its management API for ``TAKETURNS_MANAGEMENT_TIMEOUT``.
    """
    with ThreadPoolExecutor(3) as threads:
        asked_broker = threads.submit(_told, partial(broker_version, turns.app, PATIENCE))
        asked_management = threads.submit(_told, partial(_queues, turns.management))
        known, redis = _told(partial(_known, turns))
        broker_said, broker = asked_broker.result()
        answers = _ask(turns, known.workers) if known is not None and broker_said is not None else {}
        told, management = asked_management.result()
    workers = [_worker(name, answer) for name, answer in sorted(answers.items())]
    counts = list(told.queues.values()) if told is not None else None
    return SystemStatus(
        broker=_server(broker_said, broker),
        management=_server(told.version if told else None, management),
        redis=_server(known.version if known else None, redis),
        workers=workers if known else None,
        silent=sorted({*known.workers, *known.lost} - answers.keys()) if known else None,
        tenants=len(known.settings.keys() | told.queues.keys()) if known and told else None,
        paused=sum(each.paused for each in known.settings.values()) if known else None,
        throttled=_throttled(answers, told.queues) if known and told else None,
        ready=None if counts is None else sum(queue.ready or 0 for queue in counts),
        unacknowledged=None if counts is None else sum(queue.unacknowledged or 0 for queue in counts),
        uncounted=None
        if counts is None
        else sum(None in {each.ready, each.unacknowledged} for each in counts),
        running=sum(worker.running for worker in workers) if known else None,
        dead=told.dead if told else None,
        lost=told.lost if told else None,
        oldest_wait=told.oldest_wait if told else None,
    )


def _told(ask: Callable[[], T]) -> tuple[T | None, str]:
    """Return the answer, or None and what was wrong."""
    try:
        return ask(), ""
    except TaketurnsError as error:
        return None, str(error)


def _server(version: str | None, problem: str) -> ServerStatus:
    return ServerStatus(ok=not problem, version=version, message=problem)


def _known(turns: TakeTurns) -> _Known:
    version = turns.store.call(lambda redis: redis.info("server")["redis_version"])
    registry = turns.registry
    return _Known(str(version), registry.workers(), registry.lost_workers(), registry.all())


def _queues(management: Management) -> _Queues:
    version = management.version()
    listed = management.queues()
    queues = {tenant: queue for name, queue in listed.items() if (tenant := tenant_of(name)) is not None}
    waiting = {tenant: queue for tenant, queue in queues.items() if queue.ready}
    return _Queues(
        version,
        queues,
        dead=_messages(listed.get(DEAD_QUEUE)),
        lost=_messages(listed.get(LOST_QUEUE)),
        oldest_wait=_oldest(waiting, management.head_timestamps()) if waiting else None,
    )


def _messages(queue: QueueInfo | None) -> int | None:
    """Return how many there are, those that somebody holds included; None: the queue did not tell."""
    if queue is None:
        return 0  # it is declared when somebody first publishes
    return None if queue.ready is None or queue.unacknowledged is None else queue.ready + queue.unacknowledged


def _oldest(waiting: Mapping[str, QueueInfo], stamps: Mapping[str, int]) -> OldestWait | None:
    known = [(stamps[queue.name], tenant) for tenant, queue in waiting.items() if queue.name in stamps]
    if not known:
        return None
    since, tenant = min(known)
    return OldestWait(tenant, max(0.0, time.time() - since), at_most=waiting[tenant].unacknowledged != 0)


def _ask(turns: TakeTurns, workers: list[str]) -> dict[str, dict[str, Any]]:
    conversation = Conversation(turns.app, timeout=PATIENCE)
    try:
        return conversation.ask(workers, "taketurns_status")
    except TaketurnsError:
        return {}  # the broker went away after it had answered: nobody could be heard
    finally:
        conversation.disconnect()


def _throttled(answers: Mapping[str, Mapping[str, Any]], queues: Mapping[str, QueueInfo]) -> int:
    def waits(tenant: str) -> bool:
        """Tell whether it may have a task that waits; a queue that did not tell may."""
        queue = queues.get(tenant)
        return queue is None or queue.ready != 0

    return count((Sample(**answer["throttled"]) for answer in answers.values()), waits)


def _worker(name: str, answer: Mapping[str, Any]) -> WorkerStatus:
    return WorkerStatus(
        name=name,
        pid=int(answer["pid"]),
        running=int(answer["running"]),
        hand=int(answer["hand"]),
        queues=int(answer["queues"]),
        throttled=int(answer["throttled"]["count"]),
        loop_lag=float(answer["loop_lag"]),
    )
