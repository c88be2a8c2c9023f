"""Adopting an old queue: what waits there goes into the queues of the tenants that it belongs to."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any

from amqp.exceptions import NotFound
from kombu.transport.pyamqp import Message as Decodable

from taketurns.errors import NoSuchQueue
from taketurns.fetching import body_of
from taketurns.migration.belonging import Stays, whose_or_reason
from taketurns.migration.envelopes import for_tenant_queue
from taketurns.migration.moving import checked_old_queue, fetching
from taketurns.progress import Step, unheard
from taketurns.tenants import some_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from amqp import Message

    from taketurns.extension import TakeTurns
    from taketurns.migration.belonging import Reason
    from taketurns.tenant_key import Whose


@dataclass(slots=True)
class Adopted:
    """What an adoption did, or would do.

    Attributes:
        moved: messages by the tenant into whose queue they went.
        stayed: messages that are in the old queue again, by the reason and the name of their task.
        details: more about each of these, for people: of those outside of the canary some of their tenants, of
            the others what is wrong with one message, if there is more to say.
    """

    moved: Counter[str] = field(default_factory=Counter)
    stayed: Counter[tuple[Reason, str]] = field(default_factory=Counter)
    details: dict[tuple[Reason, str], str] = field(default_factory=dict)


def adopt(
    turns: TakeTurns, queue: str, *, dry_run: bool = False, progress: Callable[[Step], None] = unheard
) -> Adopted:
    """Move what waits in an old queue into the queues of its tenants, as the app's resolver tells them.

    It goes once through the messages that are there at the beginning, but for those that workers take meanwhile. A
    message is taken away only after the broker has confirmed its copy: nothing is lost, and if this process dies
    between the two, that one task runs twice. What belongs to no tenant is held until the end, and then in its old
    place again; no worker takes it meanwhile. A task with an ``eta`` goes into its tenant's queue as well; the worker
    that comes to it there moves it into the delay queues. No ``max_backlog`` holds: these tasks were accepted before.

    Args:
        turns: the app's extension.
        queue: the old queue.
        dry_run: move nothing; say what would go where.
        progress: told before the first message, and after each. What it raises ends the adoption there.

    Raises:
        NoSuchQueue: there is no such queue.
        InvalidInput: it is one of taketurns.
        BrokerUnavailable: RabbitMQ went away; what was not moved stays where it was.
        PublishNotConfirmed: the broker did not confirm one message; it may run twice.
    """
    checked_old_queue(queue)
    adopted, outside = Adopted(), defaultdict[str, set[str]](set)
    with fetching(turns, f"what waits in {queue}") as fetcher:
        try:
            total = fetcher.count(queue)
        except NotFound as error:
            raise NoSuchQueue(queue) from error
        progress(Step(0, total, 0))
        for passed, (_, message) in enumerate(fetcher.fetched(repeat(queue, total)), start=1):
            if message is None:  # workers have taken the rest
                break
            whose = whose_or_reason(
                _decodable(message), turns.app.tasks, turns.tenancy, turns.canary.current()
            )
            if isinstance(whose, Stays):
                adopted.stayed[whose.reason, whose.task] += 1
                if whose.reason == "outside_canary":
                    outside[whose.task].add(whose.details)
                elif whose.details:
                    adopted.details.setdefault((whose.reason, whose.task), whose.details)
            else:
                if not dry_run:
                    _send(turns, message, whose)
                    fetcher.take_away(message)
                adopted.moved[whose.tenant] += 1
            progress(Step(passed, total, adopted.moved.total()))
    for task, tenants in outside.items():
        adopted.details["outside_canary", task] = some_of(tenants)
    return adopted


def _send(turns: TakeTurns, message: Message, whose: Whose) -> None:
    default = turns.app.conf.task_default_priority
    name = turns.publisher.ensure(whose.tenant)
    properties = for_tenant_queue(message.properties, whose, default_priority=default)
    turns.publisher.publish(body_of(message), routing_key=name, properties=properties)


def _decodable(message: Message) -> Any:
    return Decodable(message, accept={"application/json"})
