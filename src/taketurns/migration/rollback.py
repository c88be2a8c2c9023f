"""The way back: the backlogs of tenant queues go into the old queue, where workers without taketurns run them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from kombu.transport.pyamqp import Message as Decodable

from taketurns import delays
from taketurns.confirms import Returned
from taketurns.delays import ETA_HEADER
from taketurns.errors import NoSuchQueue, RegistryUnavailable, StillInCanary
from taketurns.fetching import body_of, headers_of
from taketurns.migration.dial import KNOWN_WITHIN
from taketurns.migration.envelopes import for_old_queue
from taketurns.migration.moving import checked_old_queue, fetching
from taketurns.migration.old_way import Destination, destination_of
from taketurns.migration.rounds import in_turns
from taketurns.progress import Step, unheard
from taketurns.tenants import queue_name, tenant_of, validate_tenant
from taketurns.topology import LOST_QUEUE
from taketurns.worker.inspection import problem_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from amqp import Message

    from taketurns.extension import TakeTurns

_LOOKS: Final = 3
"""How often tenant queues are emptied, at most: what arrived meanwhile is moved as well, but not for ever."""

_PURPOSE: Final = "what waits in tenant queues"


@dataclass(frozen=True, slots=True)
class Backlog:
    """What there is to move.

    Attributes:
        waiting: messages that wait, by tenant; those without any are left out.
        delayed: messages of all tenants that wait in the delay queues for their time.
        lost: messages whose tenant's queue was removed, and that a reaper will send there.
        held: tasks that workers run or hold; the management API's count, up to 5 s old for quorum queues.
    """

    waiting: Mapping[str, int]
    delayed: int
    lost: int
    held: int

    @property
    def total(self) -> int:
        """Messages that can be moved."""
        return sum(self.waiting.values()) + self.delayed


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a rollback did.

    Attributes:
        waiting: messages that waited and were moved, by tenant.
        delayed: messages that waited for their time and were moved, by tenant.
        left: what is there afterwards.
    """

    waiting: Mapping[str, int]
    delayed: Mapping[str, int]
    left: Backlog

    @property
    def total(self) -> int:
        """Messages that were moved."""
        return sum(self.waiting.values()) + sum(self.delayed.values())


def backlog(turns: TakeTurns, tenants: Collection[str] | None = None) -> Backlog:
    """Return what a rollback would move, and change nothing.

    Args:
        turns: the app's extension.
        tenants: of whom; None for all. With a selection the delay queues and the lost queue are left out.

    Raises:
        InvalidTenant: one of the tenants is none.
        ManagementUnavailable: the management API can't be used.
        BrokerUnavailable: RabbitMQ is away.
    """
    chosen = None if tenants is None else {queue_name(tenant) for tenant in tenants}
    found = turns.management.tenant_queues()
    names = sorted(found if chosen is None else chosen)
    waiting = {str(tenant_of(name)): turns.publisher.waiting(name) for name in names}
    shared = [] if chosen is not None else [name for name, _ in delays.ladder()]
    return Backlog(
        waiting={tenant: count for tenant, count in waiting.items() if count},
        delayed=sum(map(turns.publisher.waiting, shared)),
        lost=turns.publisher.waiting(LOST_QUEUE) if chosen is None else 0,
        held=sum(found[name].unacknowledged or 0 for name in names if name in found),
    )


def check_canary(turns: TakeTurns, tenants: Collection[str] | None = None) -> None:
    """Check that nobody sends tasks of these tenants into their own queues any more.

    Raises:
        StillInCanary: somebody does.
        RegistryUnavailable: it can't be told whether somebody does, and the settings alone say so.
    """
    away: RegistryUnavailable | None = None
    canary = turns.canary.configured
    try:
        canary = turns.canary.read() or canary
    except RegistryUnavailable as error:
        away = error
    if tenants is None:
        inside = str(canary) if canary.share or canary.tenants - canary.excluded else ""
    else:
        inside = ", ".join(sorted(filter(canary.has, map(validate_tenant, tenants))))
    if inside:
        raise away or StillInCanary(inside)


def roll_back(
    turns: TakeTurns,
    *,
    queue: str | None = None,
    tenants: Collection[str] | None = None,
    progress: Callable[[Step], None] = unheard,
) -> RolledBack:
    """Move what waits in tenant queues into the old queue, a task of each tenant in turn, and count it.

    A message is taken away only after the broker has confirmed its copy: nothing is lost, and if this process dies
    between the two, that one task runs twice. Delayed tasks get Celery's own ``eta`` and wait in a worker from then
    on; with a selection of tenants they stay, and come into their tenant's queue when they are due. What workers hold
    runs there. Dead letters stay.

    Args:
        turns: the app's extension.
        queue: the old queue; None: where the app's ``task_routes`` lead each task, or its default queue.
        tenants: whose backlogs to move; None for everybody's.
        progress: told before the first message, and after each. What it raises ends the rollback there.

    Returns:
        What was moved, and what is there afterwards.

    Raises:
        StillInCanary: publishers still send tasks into these queues; nothing was moved.
        RegistryUnavailable: that can't be told, as Redis is away, and the settings take nobody out.
        NoSuchQueue: the old queue does not exist; what was to go there stays where it was.
        InvalidInput: ``queue`` is one of taketurns, or a tenant is none.
        ManagementUnavailable: the management API can't be used.
        BrokerUnavailable: RabbitMQ went away; what was not moved stays where it was.
        PublishNotConfirmed: the broker did not confirm one message; it may run twice.
    """
    if queue is not None:
        check_exists(turns, queue)
    check_canary(turns, tenants)
    time.sleep(KNOWN_WITHIN)  # somebody may have been taken out only now
    mover = _Mover(turns, queue, progress)
    found = backlog(turns, tenants)
    for _ in range(_LOOKS):
        if not found.total:
            break
        mover.move(found)
        found = backlog(turns, tenants)
    return RolledBack(dict(mover.waiting), dict(mover.delayed), found)


def check_exists(turns: TakeTurns, queue: str) -> None:
    """Check that the old queue is there.

    Raises:
        InvalidInput: it is one of taketurns.
        NoSuchQueue: it does not exist.
        BrokerUnavailable: RabbitMQ is away.
    """
    if turns.publisher.waiting_if_any(checked_old_queue(queue)) is None:
        raise NoSuchQueue(queue)


class _Mover:
    """Moves messages into the old queue, and counts them."""

    def __init__(self, turns: TakeTurns, queue: str | None, progress: Callable[[Step], None]) -> None:
        self._turns = turns
        self._to = None if queue is None else Destination("", queue)
        self._progress = progress
        self._passed = self._total = 0
        self.waiting: Counter[str] = Counter()
        self.delayed: Counter[str] = Counter()

    def move(self, found: Backlog) -> None:
        """Move so many messages of each queue, or fewer if workers take some meanwhile."""
        self._total = self._passed + found.total
        self._tell()
        with fetching(self._turns, _PURPOSE) as fetcher:
            waiting = {queue_name(tenant): count for tenant, count in found.waiting.items()}
            for _, message in fetcher.fetched(in_turns(waiting)):
                if message is not None:
                    self._send(message, None)
                    fetcher.take_away(message)
                    self.waiting[_tenant(message)] += 1
                self._tell(passed=1)
            if not found.delayed:
                return
            for name, _ in delays.ladder():
                # One at a time: one that goes back into a quorum queue is its last one in RabbitMQ 3.10, and late.
                for _, message in fetcher.fetched(repeat(name, fetcher.count(name)), under_way=1):
                    if message is not None and (due := headers_of(message).get(ETA_HEADER)):
                        self._send(message, str(due))
                        fetcher.take_away(message)
                        self.delayed[_tenant(message)] += 1
                    self._tell(passed=1)

    def _send(self, message: Message, due: str | None) -> None:
        to = self._to or self._route(message)
        default = self._turns.app.conf.task_default_priority
        properties = for_old_queue(message.properties, default_priority=default, due=due)
        try:
            self._turns.publisher.publish(
                body_of(message), exchange=to.exchange, routing_key=to.routing_key, properties=properties
            )
        except Returned as error:
            raise NoSuchQueue(to.name) from error

    def _route(self, message: Message) -> Destination:
        """Return where the app's routes lead a task; what is no task goes into its default queue."""
        decodable: Any = Decodable(message, accept={"application/json"})
        if problem_of(decodable) is not None:
            return Destination("", self._turns.app.conf.task_default_queue)
        args, kwargs, _ = decodable.payload
        return destination_of(self._turns.app, decodable.headers["task"], args, kwargs)

    def _tell(self, *, passed: int = 0) -> None:
        self._passed += passed
        self._total = max(self._total, self._passed)
        self._progress(Step(self._passed, self._total, self.waiting.total() + self.delayed.total()))


def _tenant(message: Message) -> str:
    """Return whose message it is by its routing key, which no delay changes."""
    key = str(message.delivery_info["routing_key"])
    return tenant_of(key) or key
