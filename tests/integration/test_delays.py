"""Delays on a real broker: on time, to the right queue, again and again."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
import requests

from taketurns.delays import LEVELS, exchange_name
from taketurns.errors import InvalidInput
from taketurns.topology import EXCHANGE

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from support.servers import Broker
    from taketurns import TakeTurns


@pytest.fixture
def ladder(work: Any, amqp: BlockingChannel) -> None:
    """The ladder, when the levels of short delays have elected their leaders: the first seconds in a vhost's life."""
    work.apply_async(("warm-up",), tenant="warm-up", countdown=3.1)
    assert len(arrivals(amqp, "usersequence_warm-up", 1)) == 1


def arrivals(
    amqp: BlockingChannel, queue: str, count: int, within: float = 10.0
) -> list[tuple[Any, float, Any]]:
    """Consume messages; return the label, the time of arrival and the headers of each."""
    found: list[tuple[Any, float, Any]] = []
    for method, properties, body in amqp.consume(queue, auto_ack=True, inactivity_timeout=within):
        if method is None:
            break
        found.append((json.loads(body)[0][0], time.time(), properties.headers))
        if len(found) == count:
            break
    amqp.cancel()
    return found


@pytest.mark.usefixtures("ladder")
def test_delays_are_kept(work: Any, amqp: BlockingChannel) -> None:
    """A task comes after its delay: never early, and late by less than 250 ms."""
    due = {}
    for countdown in (3.0, 2.5, 1.7, 1.0, 0.7, 0.3, 0.1):
        due[str(countdown)] = time.time() + countdown
        work.apply_async((str(countdown),), tenant="acme", countdown=countdown)
    found = arrivals(amqp, "usersequence_acme", 7)
    assert sorted(label for label, *_ in found) == sorted(due)
    late = [at - due[label] for label, at, _ in found]
    assert min(late) > -0.005
    assert median(late) < 0.25, late
    assert max(late) < 1, late  # the machine may be busy with something else for a while


@pytest.mark.usefixtures("ladder")
def test_an_eta_is_a_delay_too_and_stays_visible(work: Any, amqp: BlockingChannel) -> None:
    """An eta is waited for by the broker: the worker gets a task without one, and can read what it was."""
    eta = datetime.now(UTC) + timedelta(seconds=0.5)
    work.apply_async(("eta",), tenant="acme", eta=eta)
    ((label, at, headers),) = arrivals(amqp, "usersequence_acme", 1)
    assert label == "eta"
    assert -0.005 < at - eta.timestamp() < 1
    assert headers["eta"] is None
    assert datetime.fromisoformat(headers["taketurns_eta"]) == eta


def test_what_is_due_already_goes_straight_on(work: Any, amqp: BlockingChannel) -> None:
    """A countdown of zero and an eta in the past are no delay, and need no ladder."""
    work.apply_async(("now",), tenant="acme", countdown=0)
    work.apply_async(("past",), tenant="acme", eta=datetime.now(UTC) - timedelta(hours=1))
    labels = [label for label, *_ in arrivals(amqp, "usersequence_acme", 2, within=2)]
    assert labels == ["now", "past"]


def test_tenants_with_confusing_names_get_their_own_tasks(work: Any, amqp: BlockingChannel) -> None:
    """The routing key stays whole: no tenant's name is taken for another's, or for a delay."""
    tenants = [
        "a",
        "a.usersequence_b",
        "b",
        "0.1.0",
        "usersequence_a",
        "a.usersequence_",
        "1.1.1.usersequence_b",
    ]
    for tenant in tenants:
        work.apply_async((tenant,), tenant=tenant, countdown=0.4)
    for tenant in tenants:
        assert [label for label, *_ in arrivals(amqp, f"usersequence_{tenant}", 1)] == [tenant]
        assert amqp.queue_declare(f"usersequence_{tenant}", passive=True).method.message_count == 0


def test_a_message_may_go_through_the_same_delays_again_and_again(
    turns: TakeTurns, work: Any, amqp: BlockingChannel
) -> None:
    """A task that is put off over and over is never dropped as a message that goes round in circles."""
    work.apply_async(("again",), tenant="acme", countdown=0.3)
    for _ in range(4):
        ((_, _, headers),) = arrivals(amqp, "usersequence_acme", 1)
        assert "x-death" in headers
        exchange, bits = turns.publisher.delayed(0.3)
        properties = {"application_headers": {**headers, **bits}, "content_type": "application/json"}
        body = json.dumps([["again"], {}, {}]).encode()
        turns.publisher.publish(
            body, exchange=exchange, routing_key="usersequence_acme", properties=properties
        )
    assert len(arrivals(amqp, "usersequence_acme", 1)) == 1


def test_a_delayed_tenant_is_active_until_its_task_is_due(turns: TakeTurns, work: Any) -> None:
    """The tenant's queue is needed when the delay ends, so until then it is not idle."""
    work.apply_async(("later",), tenant="acme", countdown=3600)
    assert turns.registry.activity()["acme"] == pytest.approx(time.time() + 3600, abs=5)


def test_a_delay_beyond_the_ladder_is_refused_at_the_call(turns: TakeTurns, work: Any) -> None:
    """More than 38.7 days are an error that says so, and nothing is submitted."""
    for options in (
        {"countdown": 40 * 86400},
        {"eta": datetime.now(UTC) + timedelta(days=40)},
        {"countdown": 1e300},
    ):
        with pytest.raises(InvalidInput, match=r"38\.7 days"):
            work.apply_async(("never",), tenant="acme", **options)


def test_the_ladder_holds_messages_safely(turns: TakeTurns, broker: Broker) -> None:
    """Its queues are durable quorum queues that hand on at least once, down to the shared exchange."""
    turns.publisher.ensure("acme")
    turns.publisher.delayed(1)
    below = EXCHANGE
    for level in range(LEVELS):
        name = exchange_name(level)
        queue = requests.get(broker.api(f"queues/{{vhost}}/{name}"), timeout=10).json()
        assert queue["durable"] is True
        assert queue["arguments"] == {
            "x-queue-type": "quorum",
            "x-message-ttl": 100 * 2**level,
            "x-dead-letter-exchange": below,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        below = name


def test_a_deleted_ladder_is_declared_again(turns: TakeTurns, work: Any, amqp: BlockingChannel) -> None:
    """Whoever deletes an exchange or a queue of the ladder under a running publisher loses no new task by that."""
    work.apply_async(("first",), tenant="acme", countdown=0.1)
    amqp.exchange_delete(exchange_name(1))
    work.apply_async(("second",), tenant="acme", countdown=0.2)
    amqp.queue_delete(exchange_name(1))
    work.apply_async(("third",), tenant="acme", countdown=0.2)
    labels = [label for label, *_ in arrivals(amqp, "usersequence_acme", 3, within=2)]
    # The second one may have gone with the queue that was deleted.
    assert {"first", "third"} <= set(labels) <= {"first", "second", "third"}
