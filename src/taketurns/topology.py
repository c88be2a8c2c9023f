"""Names and arguments of every queue and exchange, in one place, and their declaration.

A queue's arguments can never be changed once it exists, so those of a tenant queue are final, for either type of
queue: everything that an operator may want to tune goes into a RabbitMQ policy instead. A queue of the type that is
not (any more) the one of the settings is used as it is, and removed when it is idle.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from kombu import Exchange, Queue

from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.settings import QueueType

EXCHANGE: Final = "usersequence"
"""The direct exchange through which every tenant task is published; the routing key is the queue's name."""

LOST_EXCHANGE: Final = "usersequence.lost"
LOST_QUEUE: Final = "usersequence.lost"
"""Where a task goes whose tenant queue does not exist (any more); the recoverer sends it on."""

DEAD_QUEUE: Final = "usersequence.dead"
"""Where messages go that can never run; reached through the default exchange."""

PRIORITIES: Final[Mapping[str, int]] = MappingProxyType({"low": 0, "normal": 1, "high": 2})

# x-queue-type is said although it is the default: a vhost may make quorum queues its default, and those refuse
# x-max-priority and the conditional delete by which the reaper removes classic queues.
#
# Without x-delivery-limit RabbitMQ 4.x drops a message that returns to a quorum queue for the 21st time, and 3.10
# puts whatever returns at the end of the queue. A limit of -1, "none" to 4.x, has 3.10 drop a message when it returns
# for the first time. So the limit is one that no message reaches, on both.
TENANT_QUEUE_ARGUMENTS: Final[Mapping[QueueType, Mapping[str, Any]]] = MappingProxyType(
    {
        "classic": MappingProxyType({"x-queue-type": "classic", "x-max-priority": 2}),
        "quorum": MappingProxyType({"x-queue-type": "quorum", "x-delivery-limit": 2**31 - 1}),
    }
)
_PLAIN_ARGUMENTS: Final[Mapping[str, Any]] = MappingProxyType({"x-queue-type": "classic"})


def tenant_exchange() -> Exchange:
    """Return the shared exchange of all tenant queues; what it can't route goes to the lost queue."""
    return Exchange(EXCHANGE, type="direct", durable=True, arguments={"alternate-exchange": LOST_EXCHANGE})


def tenant_queue(tenant: str, queue_type: QueueType = "classic") -> Queue:
    """Return the tenant's queue with its binding, as a kombu entity that is not yet declared.

    Args:
        tenant: whose queue it is.
        queue_type: what it becomes if it is declared by this; to publish or consume it does not matter.

    Raises:
        InvalidTenant: the tenant id does not have the accepted form.
    """
    name = queue_name(tenant)
    return Queue(
        name,
        exchange=tenant_exchange(),
        routing_key=name,
        durable=True,
        queue_arguments=dict(TENANT_QUEUE_ARGUMENTS[queue_type]),
    )


def tenant_queue_type(*, durable: bool, arguments: Mapping[str, Any]) -> QueueType | None:
    """Return which of our types a queue is that was declared like this; None: somebody declared it otherwise."""
    ours = (kind for kind, own in TENANT_QUEUE_ARGUMENTS.items() if durable and dict(arguments) == dict(own))
    return next(ours, None)


def lost_queue() -> Queue:
    """Return the lost-and-found queue; its fanout exchange keeps each message's own routing key."""
    return Queue(
        LOST_QUEUE,
        exchange=Exchange(LOST_EXCHANGE, type="fanout", durable=True),
        durable=True,
        queue_arguments=dict(_PLAIN_ARGUMENTS),
    )


def dead_queue() -> Queue:
    """Return the dead-letter queue."""
    return Queue(DEAD_QUEUE, durable=True, queue_arguments=dict(_PLAIN_ARGUMENTS))


def declare_shared(channel: Any) -> None:
    """Declare what all tenants share, on an open kombu channel. May be repeated.

    The lost queue comes first: were the shared exchange there before it, a task in between would be confirmed by
    the broker and dropped.
    """
    lost_queue()(channel).declare()
    dead_queue()(channel).declare()
    tenant_exchange()(channel).declare()


def add_consumer_arguments(tenant: str, queue_type: QueueType) -> dict[str, Any]:
    """Return the arguments of Celery's ``add_consumer`` for a tenant's queue, complete.

    With less of them a stock worker that acts on the command would declare another queue of that name, be refused
    with 406, and exit.
    """
    name = queue_name(tenant)
    return {
        "queue": name,
        "exchange": EXCHANGE,
        "exchange_type": "direct",
        "routing_key": name,
        "durable": True,
        "exchange_arguments": dict(tenant_exchange().arguments),
        "queue_arguments": dict(TENANT_QUEUE_ARGUMENTS[queue_type]),
    }
