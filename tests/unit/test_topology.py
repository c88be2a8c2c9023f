"""The names and arguments that can never be changed once they are in use."""

from __future__ import annotations

import pytest

from taketurns.errors import InvalidTenant
from taketurns.topology import PRIORITIES, add_consumer_arguments, dead_queue, lost_queue, tenant_queue


def test_a_tenant_queue_is_declared_as_it_always_was() -> None:
    """The arguments of a tenant queue are final: a queue that exists would be refused with others."""
    queue = tenant_queue("acme")
    assert queue.name == queue.routing_key == "usersequence_acme"
    assert queue.queue_arguments == {"x-queue-type": "classic", "x-max-priority": 2}
    assert queue.durable
    assert not queue.auto_delete
    assert not queue.exclusive


def test_the_shared_exchange_is_declared_as_it_always_was() -> None:
    """All tenants share one durable direct exchange, and what it can't route goes to the lost queue."""
    exchange = tenant_queue("acme").exchange
    assert (exchange.name, exchange.type, exchange.durable) == ("usersequence", "direct", True)
    assert exchange.arguments == {"alternate-exchange": "usersequence.lost"}


def test_no_queue_that_can_hold_a_task_ever_expires() -> None:
    """An expiring queue would take confirmed tasks with it."""
    for queue in (tenant_queue("acme"), lost_queue(), dead_queue()):
        assert queue.expires is None
        assert "x-expires" not in queue.queue_arguments
        assert queue.durable


def test_there_are_as_many_priorities_as_the_queue_has() -> None:
    """Low, normal and high are all the priorities that a tenant queue tells apart."""
    assert dict(PRIORITIES) == {
        "low": 0,
        "normal": 1,
        "high": tenant_queue("acme").queue_arguments["x-max-priority"],
    }


@pytest.mark.parametrize("tenant", ["", "a/b", "a b", ".a", "x" * 129])
def test_a_bad_tenant_never_becomes_a_queue(tenant: str) -> None:
    """A tenant id that does not have the accepted form is refused before anything is named after it."""
    with pytest.raises(InvalidTenant):
        tenant_queue(tenant)


def test_a_broadcast_names_the_queue_with_everything_it_is_declared_with() -> None:
    """A stock worker that acts on the broadcast declares the very same queue, and not one of its own."""
    arguments = add_consumer_arguments("acme", "classic")
    assert arguments == {
        "queue": "usersequence_acme",
        "exchange": "usersequence",
        "exchange_type": "direct",
        "routing_key": "usersequence_acme",
        "durable": True,
        "exchange_arguments": {"alternate-exchange": "usersequence.lost"},
        "queue_arguments": {"x-queue-type": "classic", "x-max-priority": 2},
    }
