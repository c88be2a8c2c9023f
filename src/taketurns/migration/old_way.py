"""The way that a tenant's task goes without taketurns: by the app's routes, into its default queue or another one.

Tasks of tenants outside of the canary go this way, what an old publisher has sent goes on on it, and a rollback puts
tasks back on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from celery.exceptions import QueueNotFound

from taketurns.errors import TaketurnsError
from taketurns.options import priority_of
from taketurns.tenants import tenant_of
from taketurns.topology import EXCHANGE, PRIORITIES

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Queue

CAME_BY: Final = "taketurns_came_by"
"""The option in which a retry passes on the destination of its old message, apart from what a caller has chosen."""

# These are about the connection, which is ours so that the message is confirmed, or come from an old message.
_OURS = ("connection", "publisher", "immediate", "mandatory", "redelivered")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a message is published, and what must be there for that.

    Attributes:
        exchange: the exchange's name.
        routing_key: the routing key; with the default exchange the queue's name.
        queue: the queue as the app knows it; None if the app names an exchange only.
    """

    exchange: str
    routing_key: str
    queue: Queue | None = None

    @property
    def name(self) -> str:
        """The queue's name, or the routing key of an exchange."""
        return self.routing_key if self.queue is None else str(self.queue.name)


def destination_of(app: Celery, task: str, args: Any, kwargs: Any) -> Destination:
    """Return where the app's own routes lead a task.

    Raises:
        TaketurnsError: one of its ``task_routes`` failed, or leads to a queue that the app does not have.
    """
    try:
        route = app.amqp.router.route({}, task, args or (), kwargs or {}, app.tasks.get(task))
    except QueueNotFound as error:
        raise TaketurnsError(f"task_routes of task {task!r}: {error}") from error
    except Exception as error:  # whatever a team's own router raises
        raise TaketurnsError(f"task_routes failed for task {task!r}: {error!r}") from error
    exchange, routing_key = _name(route.get("exchange")), route.get("routing_key")
    if exchange and routing_key:
        return Destination(exchange, str(routing_key))
    queue = route["queue"]
    return Destination("", str(queue.name), queue)


def take_the_old_way(options: dict[str, Any], *, priority: int, default: Any) -> None:
    """Change the options of a TenantTask's submission into those of an ordinary task's.

    A destination that the caller chose stays, and so does the one that a retry passes on from its old message, unless
    that came from a tenant's queue.

    Args:
        options: the options of ``apply_async``.
        priority: the task's own priority.
        default: the priority of ordinary tasks that have none; None for none.

    Raises:
        InvalidInput: there is no priority of that name.
    """
    for option in _OURS:
        options.pop(option, None)
    chosen = [_name(options.get(option)) for option in ("queue", "exchange", "routing_key")]
    if EXCHANGE in chosen or any(tenant_of(name) is not None for name in chosen):
        for option in ("queue", "exchange", "routing_key"):
            options.pop(option, None)
    given = options.get("priority")
    if given is None:
        # That of all tenants' tasks is no choice; an ordinary task has the app's.
        given = default if priority == PRIORITIES["normal"] else priority
    # A number is the app's own matter here: its queues may have others than 0 to 2.
    options["priority"] = priority_of(given) if isinstance(given, str) else given


def _name(of: Any) -> str:
    """Return the name of a queue or exchange, given by its name or as kombu's object."""
    return str(getattr(of, "name", of) or "")
