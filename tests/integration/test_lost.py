"""The way of a task whose queue is gone: into the lost queue, never into nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from taketurns.topology import EXCHANGE, LOST_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel


def test_a_task_for_a_deleted_queue_is_in_the_lost_queue(work: Any, amqp: BlockingChannel) -> None:
    """A publisher that does not know that the queue is gone still gets a confirm, and the task is kept."""
    work.apply_async(("first",), tenant="acme")
    amqp.queue_delete("usersequence_acme")
    result = work.apply_async(("second",), tenant="acme", priority="high")
    method, properties, body = amqp.basic_get(LOST_QUEUE)
    assert method is not None
    assert properties.headers is not None
    assert (method.exchange, method.routing_key) == (EXCHANGE, "usersequence_acme")
    assert properties.headers["id"] == result.id
    assert properties.headers["taketurns_tenant"] == "acme"
    assert (properties.delivery_mode, properties.priority) == (2, 2)
    assert json.loads(body)[0] == ["second"]


def test_a_delayed_task_for_a_deleted_queue_is_in_the_lost_queue(
    work: Any, amqp: BlockingChannel, eventually: Callable[..., None]
) -> None:
    """A queue that is removed while a task of it waits does not take the task with it."""
    result = work.apply_async(("later",), tenant="acme", countdown=0.3)
    amqp.queue_delete("usersequence_acme")
    found: list[Any] = []

    def arrived() -> bool:
        got = amqp.basic_get(LOST_QUEUE)
        if got[0] is not None:
            found.append(got)
        return bool(found)

    eventually(arrived, within=5)
    method, properties, _ = found[0]
    assert method.routing_key == "usersequence_acme"
    assert properties.headers["id"] == result.id


def test_the_lost_queue_is_there_before_anything_can_get_lost(work: Any, amqp: BlockingChannel) -> None:
    """The first task of a vhost already finds the whole way: an exchange with its alternate and a queue behind."""
    work.apply_async(("first",), tenant="acme")
    amqp.basic_publish(EXCHANGE, "usersequence_nobody", b"{}")
    assert amqp.basic_get(LOST_QUEUE)[2] == b"{}"
