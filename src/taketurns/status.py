"""How the whole system is doing, in one call: its servers, its workers, and what waits in it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, with_config

from taketurns.answers import gather
from taketurns.sample import Sample, count
from taketurns.topology import DEAD_QUEUE, LOST_QUEUE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.answers import Answers, Queues
    from taketurns.extension import TakeTurns
    from taketurns.management import QueueInfo

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
    def servers(self) -> dict[str, ServerStatus]:
        """The three servers by what people call them."""
        return {"RabbitMQ": self.broker, "its management API": self.management, "Redis": self.redis}

    @property
    def away(self) -> list[str]:
        """Those of them that don't answer."""
        return [name for name, server in self.servers.items() if not server.ok]

    @property
    def ok(self) -> bool:
        """Whether all three servers answer."""
        return not self.away


def look(turns: TakeTurns) -> SystemStatus:
    """Return how the system of an app is doing; never fails, since what is away is told.

    Asks everybody at once, and takes about a second if a worker is silent. A server that does not even refuse is
    waited for: RabbitMQ for two seconds, its management API for ``TAKETURNS_MANAGEMENT_TIMEOUT``.
    """
    return summary(gather(turns, turns.management, stamps=True))


def summary(answers: Answers) -> SystemStatus:
    """Return how the system is doing, by what everybody told."""
    known, queues = answers.known, answers.queues
    workers = [_worker(name, answer) for name, answer in sorted(answers.workers.items())]
    counts = list(queues.tenants.values()) if queues is not None else None
    return SystemStatus(
        broker=_server(answers.broker, answers.broker_trouble),
        management=_server(queues.version if queues else None, answers.management_trouble),
        redis=_server(known.version if known else None, answers.redis_trouble),
        workers=workers if known else None,
        silent=sorted({*known.workers, *known.lost} - answers.workers.keys()) if known else None,
        tenants=len(known.settings.keys() | queues.tenants.keys()) if known and queues else None,
        paused=sum(each.paused for each in known.settings.values()) if known else None,
        throttled=_throttled(answers.workers, queues.tenants) if known and queues else None,
        ready=None if counts is None else sum(queue.ready or 0 for queue in counts),
        unacknowledged=None if counts is None else sum(queue.unacknowledged or 0 for queue in counts),
        uncounted=None
        if counts is None
        else sum(None in {each.ready, each.unacknowledged} for each in counts),
        running=sum(worker.running for worker in workers) if known else None,
        dead=_messages(queues.others.get(DEAD_QUEUE)) if queues else None,
        lost=_messages(queues.others.get(LOST_QUEUE)) if queues else None,
        oldest_wait=_oldest(queues) if queues else None,
    )


def _server(version: str | None, problem: str) -> ServerStatus:
    return ServerStatus(ok=not problem, version=version, message=problem)


def _messages(queue: QueueInfo | None) -> int | None:
    """Return how many there are, those that somebody holds included; None: the queue did not tell."""
    if queue is None:
        return 0  # it is declared when somebody first publishes
    return None if queue.ready is None or queue.unacknowledged is None else queue.ready + queue.unacknowledged


def _oldest(queues: Queues) -> OldestWait | None:
    known = [
        (queues.stamps[queue.name], tenant)
        for tenant, queue in queues.tenants.items()
        if queue.ready and queue.name in queues.stamps
    ]
    if not known:
        return None
    since, tenant = min(known)
    return OldestWait(
        tenant, max(0.0, time.time() - since), at_most=queues.tenants[tenant].unacknowledged != 0
    )


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
