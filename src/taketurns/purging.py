"""Throwing away what waits in a tenant's queue."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from taketurns.conversation import Conversation
from taketurns.emptying import Emptying, let_go
from taketurns.errors import ManagementUnavailable, TenantInUse, UnknownTenant
from taketurns.progress import Step, unheard
from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from taketurns.extension import TakeTurns
    from taketurns.registry import Registry

_EXPIRY: Final = 10.0
"""Seconds after which the workers serve the tenant again by themselves, should this process die."""

_HANDS_WITHIN: Final = 1.0
"""Seconds that the workers have to give back what they hold and have not started."""

_KNOWN_WITHIN: Final = 7.0
"""Seconds until the management API knows that a queue is empty: of quorum queues it tells what was 5 s ago."""

_LOOK_EVERY: Final = 0.1


@dataclass(frozen=True, slots=True)
class Purge:
    """What became of a tenant's tasks.

    Attributes:
        tenant: the tenant.
        purged: tasks that waited and are gone.
        running: tasks that go on: those that the workers run which answered; of a silent one nothing is known.
        silent: the workers that did not answer. What one of them holds is not gone, a turn's tasks at most.
        due_until: when the last of its delayed tasks and retries is due, in seconds since 1970. They wait elsewhere
            and come all the same. None: none is known.
    """

    tenant: str
    purged: int
    running: int
    silent: tuple[str, ...]
    due_until: float | None


def purge(turns: TakeTurns, tenant: str, *, progress: Callable[[Step], None] = unheard) -> Purge:
    """Throw away what waits in a tenant's queue, and what workers hold of it and have not started.

    Each task is cancelled: its record says CANCELLED with the error ``purged``, its events tell so, Celery's state is
    REVOKED, and what depends on it fails. What is no task goes untold. Running tasks go on. Delayed ones and retries,
    which wait elsewhere, come when they are due. As many are thrown away as wait at the beginning; who submits
    meanwhile does not keep it going. Workers don't serve the tenant until it is done: 10 to 20 seconds for 10,000
    tasks.

    Should this process die in the middle, each task is either told and gone, or still there. A few hundred may be
    told and still there: workers throw their messages away, as they do with all that was cancelled.

    Args:
        turns: the app's extension.
        tenant: the tenant.
        progress: told before the first message, and whenever some are gone. What it raises ends the purge there.

    Raises:
        InvalidTenant: the tenant id does not have the accepted form.
        UnknownTenant: it has neither a queue nor settings.
        TenantInUse: its queue is being removed at this moment.
        BrokerUnavailable: RabbitMQ is away. What was not thrown away is in the queue again.
        RegistryUnavailable: Redis is away. The same; if it was away at the beginning, nothing was thrown away.
    """
    queue = queue_name(tenant)
    if not turns.registry.exists(tenant) and not _has_queue(turns, queue):
        raise UnknownTenant(tenant)
    with _drained(turns, tenant) as workers:
        answers = workers.answers()
        emptying = Emptying(turns, reason="its tenant was purged", renew=workers.keep_away, progress=progress)
        purged = emptying.empty(tenant)
    let_go(turns, emptying.parents)
    running = sum(answer["running"] for answer in answers.values())
    return Purge(
        tenant,
        purged,
        running,
        silent=tuple(sorted(set(workers.names) - answers.keys())),
        due_until=turns.registry.due_until(tenant),
    )


def empty(turns: TakeTurns, tenants: Collection[str], emptying: Emptying) -> int:
    """Throw away what is in queues of which nobody holds anything and into which nothing more can come.

    Returns when the management API knows it; but after seven seconds in any case.

    Returns:
        How many tasks that were.

    Raises:
        BrokerUnavailable: RabbitMQ is away.
        RegistryUnavailable: Redis is away.
        ManagementUnavailable: it can't be told whether they are empty.
    """
    purged = sum(map(emptying.empty, tenants))
    names = [queue_name(tenant) for tenant in tenants]
    deadline = time.monotonic() + _KNOWN_WITHIN
    while time.monotonic() < deadline and any(_ready(turns, name) for name in names):
        time.sleep(_LOOK_EVERY)
    return purged


class _Workers:
    """The live workers, which serve the tenant no more for a moment."""

    def __init__(
        self, conversation: Conversation, registry: Registry, names: Collection[str], tenant: str
    ) -> None:
        self.names = names
        self._conversation = conversation
        self._registry = registry
        self._tenant = tenant

    def drain(self) -> None:
        self._registry.mark_draining([self._tenant], _EXPIRY)  # nor does one that comes meanwhile
        self._conversation.ask(self.names, "taketurns_drain", self._drained())

    def keep_away(self) -> None:
        """Have them serve it no more for as long again; they are not waited for."""
        self._registry.mark_draining([self._tenant], _EXPIRY)
        self._conversation.tell(self.names, "taketurns_drain", self._drained())

    def resume(self) -> None:
        self._conversation.tell(self.names, "taketurns_resume", {"tenants": [self._tenant]})

    def answers(self) -> Mapping[str, Mapping[str, Any]]:
        """Return how the tenant stands with each worker, when nobody has any of it in the hand."""
        deadline = time.monotonic() + _HANDS_WITHIN
        while True:
            answers = self._conversation.ask(self.names, "taketurns_explain", {"tenant": self._tenant})
            if time.monotonic() > deadline or not any(answer["hand"] for answer in answers.values()):
                return answers

    def _drained(self) -> dict[str, Any]:
        return {"tenants": [self._tenant], "seconds": _EXPIRY}


@contextmanager
def _drained(turns: TakeTurns, tenant: str) -> Iterator[_Workers]:
    """Have nobody serve a tenant until the block ends; what runs, runs on."""
    registry = turns.registry
    if tenant in registry.draining():
        raise TenantInUse(tenant, "it is being removed or purged at this moment; try again")
    with Conversation(turns.app, timeout=turns.settings.broker.publish_timeout) as conversation:
        workers = _Workers(conversation, registry, registry.workers(), tenant)
        try:
            workers.drain()
            yield workers
        finally:
            registry.unmark_draining([tenant])
            workers.resume()


def _has_queue(turns: TakeTurns, queue: str) -> bool:
    try:
        return turns.management.queue(queue) is not None
    except ManagementUnavailable:
        return True  # it is not known, and to purge a queue that is not there does no harm


def _ready(turns: TakeTurns, queue: str) -> bool:
    found = turns.management.queue(queue)
    return found is not None and found.ready != 0
