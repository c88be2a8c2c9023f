"""What servers and workers say of the whole system, all asked at once; of what is away it is told why."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from taketurns.connections import broker_version
from taketurns.conversation import Conversation
from taketurns.errors import TaketurnsError
from taketurns.tenants import tenant_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taketurns.extension import TakeTurns
    from taketurns.management import Management, QueueInfo
    from taketurns.registry import TenantSettings

T = TypeVar("T")

PATIENCE: Final = 2.0
"""Seconds that RabbitMQ has for a connection."""


@dataclass(frozen=True, slots=True)
class Known:
    """What Redis knows.

    Attributes:
        version: its version.
        workers: the live workers.
        lost: the workers that went without a farewell.
        settings: those of the tenants that have their own.
    """

    version: str
    workers: list[str]
    lost: list[str]
    settings: Mapping[str, TenantSettings]


@dataclass(frozen=True, slots=True)
class Queues:
    """What the management API tells.

    Attributes:
        version: RabbitMQ's version.
        tenants: the tenants' queues, by tenant.
        others: all other queues, by name.
        stamps: the time stamp of the message at each tenant queue's head, by the queue's name, as Unix time; empty if
            they were not asked for, or nothing waits.
    """

    version: str
    tenants: Mapping[str, QueueInfo]
    others: Mapping[str, QueueInfo]
    stamps: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Answers:
    """What everybody told. None: it is away, for the reason that its ``trouble`` names.

    Attributes:
        broker: RabbitMQ's version, as it says itself.
        queues: what its management API tells.
        known: what Redis knows.
        workers: what the live workers answered, by name; one that did not in time is missing.
        broker_trouble: why RabbitMQ is away.
        management_trouble: why its management API is.
        redis_trouble: why Redis is.
    """

    broker: str | None
    queues: Queues | None
    known: Known | None
    workers: Mapping[str, Mapping[str, Any]]
    broker_trouble: str
    management_trouble: str
    redis_trouble: str


def gather(turns: TakeTurns, management: Management, *, stamps: bool) -> Answers:
    """Ask everybody at once; never fails.

    It takes about a second if a worker is silent. A server that does not even refuse is waited for: RabbitMQ for two
    seconds, its management API for as long as ``management`` waits.

    Args:
        turns: the app's TakeTurns.
        management: the client of the management API.
        stamps: whether to ask for the heads' time stamps, which costs RabbitMQ as much as all else together.
    """
    with ThreadPoolExecutor(3) as threads:
        asked_broker = threads.submit(_told, partial(broker_version, turns.app, PATIENCE))
        asked_management = threads.submit(_told, partial(_queues, management, stamps=stamps))
        known, redis_trouble = _told(partial(_known, turns))
        broker, broker_trouble = asked_broker.result()
        workers = _ask(turns, known.workers) if known is not None and broker is not None else {}
        queues, management_trouble = asked_management.result()
    return Answers(broker, queues, known, workers, broker_trouble, management_trouble, redis_trouble)


def _told(ask: Callable[[], T]) -> tuple[T | None, str]:
    """Return the answer, or None and what was wrong."""
    try:
        return ask(), ""
    except TaketurnsError as error:
        return None, str(error)


def _known(turns: TakeTurns) -> Known:
    version = turns.store.call(lambda redis: redis.info("server")["redis_version"])
    registry = turns.registry
    return Known(str(version), registry.workers(), registry.lost_workers(), registry.all())


def _queues(management: Management, *, stamps: bool) -> Queues:
    version = management.version()
    tenants: dict[str, QueueInfo] = {}
    others: dict[str, QueueInfo] = {}
    for name, queue in management.queues().items():
        tenant = tenant_of(name)
        if tenant is None:
            others[name] = queue
        else:
            tenants[tenant] = queue
    wanted = stamps and any(queue.ready for queue in tenants.values())
    return Queues(version, tenants, others, management.head_timestamps() if wanted else {})


def _ask(turns: TakeTurns, workers: list[str]) -> dict[str, dict[str, Any]]:
    with Conversation(turns.app, timeout=PATIENCE) as conversation:
        try:
            return conversation.ask(workers, "taketurns_status")
        except TaketurnsError:
            return {}  # the broker went away after it had answered: nobody could be heard
