"""Publishing on a real broker: confirmed or an error in time, whatever happens to connections and queues."""

from __future__ import annotations

import json
import logging
import multiprocessing
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import quote

import pytest
import requests
from celery import Celery

from support import proxy
from support.publishing import installed
from taketurns import TakeTurns
from taketurns.errors import BrokerUnavailable, InvalidTenant, PublishNotConfirmed, TaketurnsError
from taketurns.topology import EXCHANGE, LOST_EXCHANGE, LOST_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from support.servers import Broker
    from taketurns.publisher import Publisher
    from taketurns.settings import Settings

PROPERTIES = {"content_type": "application/json", "content_encoding": "utf-8"}


@contextmanager
def publisher_for(settings: Settings, **broker: Any) -> Iterator[Publisher]:
    changed = replace(settings, broker=settings.broker.model_copy(update=broker))
    with installed(changed) as turns:
        yield turns.publisher


@pytest.fixture
def publisher(settings: Settings) -> Iterator[Publisher]:
    with publisher_for(settings) as publisher:
        yield publisher


@pytest.fixture
def between(broker: Broker) -> Iterator[proxy.Proxy]:
    """A proxy before the broker."""
    with proxy.running(broker.amqp_url) as running:
        yield running


def send(publisher: Publisher, body: str, tenant: str = "acme") -> None:
    publisher.publish(json.dumps(body).encode(), routing_key=f"usersequence_{tenant}", properties=PROPERTIES)


def bodies(amqp: BlockingChannel, queue: str = "usersequence_acme") -> list[Any]:
    """Take all messages out of a queue."""
    found = []
    while (got := amqp.basic_get(queue, auto_ack=True))[0] is not None:
        found.append(json.loads(got[2]))
    return found


def test_a_new_tenant_gets_a_durable_queue(
    publisher: Publisher, amqp: BlockingChannel, broker: Broker
) -> None:
    """The queue is durable, has the final arguments, and a message in it is persistent."""
    assert publisher.ensure("acme") == "usersequence_acme"
    send(publisher, "hello")
    found = requests.get(broker.api("queues/{vhost}/usersequence_acme"), timeout=10).json()
    assert found["durable"] is True
    assert found["arguments"] == {"x-queue-type": "classic", "x-max-priority": 2}
    method, properties, body = amqp.basic_get("usersequence_acme")
    assert method is not None
    assert (method.exchange, method.routing_key) == (EXCHANGE, "usersequence_acme")
    assert properties.delivery_mode == 2
    assert body == b'"hello"'


def test_a_bad_tenant_reaches_no_broker(settings: Settings) -> None:
    """The tenant id is checked before anything is sent."""
    with publisher_for(settings, amqp_url="amqp://127.0.0.1:1//") as publisher, pytest.raises(InvalidTenant):
        publisher.ensure("a/b")


def test_first_uses_at_the_same_time_declare_once(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty threads that submit a tenant's first tasks declare its queue once, and all get its name."""
    declare = mock.Mock(wraps=publisher._declare)
    monkeypatch.setattr(publisher, "_declare", declare)
    with ThreadPoolExecutor(20) as threads:
        names = list(threads.map(publisher.ensure, ["acme", "beta"] * 20))
    assert set(names) == {"usersequence_acme", "usersequence_beta"}
    assert sorted(call.args[1] for call in declare.call_args_list) == ["acme", "beta"]


def test_a_queue_declared_otherwise_is_used_as_it_is(
    publisher: Publisher, amqp: BlockingChannel, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody else's queue of that name is bound and filled, and reported once."""
    amqp.queue_declare("usersequence_acme", durable=True, arguments={"x-max-length": 1000})
    with caplog.at_level(logging.WARNING, "taketurns"):
        publisher.ensure("acme")
        publisher.touch("acme")
        send(publisher, "hello")
        publisher._ensured.clear()
        publisher.ensure("acme")
    assert bodies(amqp) == ["hello"]
    assert [record.message.split(" by ")[0] for record in caplog.records] == [
        "queue usersequence_acme was declared otherwise"
    ]


def test_a_cut_connection_is_replaced(settings: Settings, between: proxy.Proxy) -> None:
    """A connection that was lost while it was idle costs nothing but a new one."""
    with publisher_for(settings, amqp_url=between.url) as publisher:
        publisher.ensure("acme")
        for n in range(3):
            between.cut()
            send(publisher, f"{n}")
        assert between.accepted == 4


def test_a_connection_that_the_broker_closes_is_replaced(
    publisher: Publisher, broker: Broker, amqp: BlockingChannel, eventually: Callable[..., None]
) -> None:
    """An operator may close the publishers' connections; nobody notices."""
    publisher.ensure("acme")
    send(publisher, "before")

    def ours() -> list[str]:
        answer = requests.get(broker.api("vhosts/{vhost}/connections"), timeout=10).json()
        return [c["name"] for c in answer if c.get("user_provided_name") == "taketurns publisher"]

    eventually(ours, what="the broker lists the connection by its name")
    for name in ours():
        requests.delete(broker.api(f"connections/{quote(name)}"), timeout=10).raise_for_status()
    send(publisher, "after")
    assert bodies(amqp) == ["before", "after"]


def test_a_connection_lost_before_the_confirm_is_sent_again(
    settings: Settings, between: proxy.Proxy, amqp: BlockingChannel, eventually: Callable[..., None]
) -> None:
    """A message whose confirm was lost with the connection is sent again: it may be there twice, never not at all."""
    with publisher_for(settings, amqp_url=between.url) as publisher:
        publisher.ensure("acme")
        between.silence()
        with ThreadPoolExecutor(1) as thread:
            sending = thread.submit(send, publisher, "hello")
            eventually(
                lambda: amqp.queue_declare("usersequence_acme", passive=True).method.message_count == 1
            )
            between.drop()
            sending.result(timeout=10)
        assert bodies(amqp) == ["hello", "hello"]


def test_without_a_confirm_it_fails_in_time(settings: Settings, between: proxy.Proxy) -> None:
    """A broker that takes the message and says nothing is an error after the timeout, not a success."""
    with publisher_for(settings, amqp_url=between.url, publish_timeout=0.5) as publisher:
        publisher.ensure("acme")
        between.silence()
        began = time.monotonic()
        with pytest.raises(PublishNotConfirmed, match="in time"):
            send(publisher, "hello")
        assert 0.4 < time.monotonic() - began < 2.0


def test_a_late_confirm_does_not_vouch_for_the_next_message(
    settings: Settings, between: proxy.Proxy, amqp: BlockingChannel, eventually: Callable[..., None]
) -> None:
    """A confirm of the first message that comes while the second one is under way is not taken for the second's."""
    with publisher_for(settings, amqp_url=between.url, publish_timeout=2) as publisher:
        publisher.ensure("acme")
        between.silence()
        with pytest.raises(PublishNotConfirmed):
            send(publisher, "first")
        held = between.held
        with ThreadPoolExecutor(1) as thread:
            # Nothing can take this message, and only its own outcome tells.
            for_nobody = thread.submit(
                publisher.publish, b"{}", exchange="", routing_key="no such queue", properties={}
            )
            eventually(lambda: between.held > held, what="the server has answered the second attempt")
            between.answer()
            with pytest.raises(PublishNotConfirmed, match="no queue took"):
                for_nobody.result(timeout=10)
        send(publisher, "third")
    assert bodies(amqp) == ["first", "third"]


def test_without_a_broker_it_fails_at_once(settings: Settings) -> None:
    """A refused connection is BrokerUnavailable, for declaring and for publishing, without any retries."""
    with closing(socket.create_server(("127.0.0.1", 0))) as nobody:
        port = nobody.getsockname()[1]
    with publisher_for(settings, amqp_url=f"amqp://127.0.0.1:{port}//") as publisher:
        began = time.monotonic()
        for call in (
            lambda: publisher.ensure("acme"),
            lambda: send(publisher, "x"),
            lambda: publisher.delayed(1),
        ):
            with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{port}"):
                call()
        assert time.monotonic() - began < 1.0


def test_a_server_that_never_answers_is_unavailable_in_time(settings: Settings) -> None:
    """A server that accepts connections and stays silent holds nobody up beyond the timeout."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"amqp://127.0.0.1:{silent.getsockname()[1]}//"
        with publisher_for(settings, amqp_url=url, publish_timeout=0.5) as publisher:
            began = time.monotonic()
            with pytest.raises(BrokerUnavailable):
                publisher.ensure("acme")
            assert 0.4 < time.monotonic() - began < 2.0


def test_a_broker_that_stalls_while_declaring_is_unavailable_in_time(
    settings: Settings, between: proxy.Proxy
) -> None:
    """Waiting for the answer to a declaration has an end as well, and the next call works again."""
    with publisher_for(settings, amqp_url=between.url, publish_timeout=0.5) as publisher:
        publisher.ensure("acme")
        between.silence()
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            publisher.ensure("beta")
        assert 0.4 < time.monotonic() - began < 2.0
        between.answer()
        assert publisher.ensure("beta") == "usersequence_beta"


def test_all_calls_of_a_submission_end_in_time_together(settings: Settings, between: proxy.Proxy) -> None:
    """What a slow declaration has used up is not there for the confirm."""
    with publisher_for(settings, amqp_url=between.url, publish_timeout=1.0) as publisher:
        publisher.ensure("acme")
        between.silence()
        answer = threading.Timer(0.7, between.answer)
        answer.start()
        began = time.monotonic()
        with publisher.in_time():
            publisher.ensure("beta")
            between.silence()
            with pytest.raises(PublishNotConfirmed):
                send(publisher, "hello")
        assert 0.9 < time.monotonic() - began < 1.6
        answer.join()


def test_connections_are_bounded(settings: Settings, between: proxy.Proxy, amqp: BlockingChannel) -> None:
    """Many threads publish through few connections, and every message arrives once."""
    with publisher_for(settings, amqp_url=between.url, publish_connections=3) as publisher:
        publisher.ensure("acme")
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda n: send(publisher, str(n)), range(400)))
    assert 1 < between.accepted <= 3
    assert Counter(bodies(amqp)) == Counter(str(n) for n in range(400))


def test_who_finds_all_connections_busy_is_told_so_in_time(settings: Settings) -> None:
    """A thread waits for a free connection as long as for a confirm, then fails."""
    with publisher_for(settings, publish_connections=1, publish_timeout=0.3) as publisher:
        publisher.ensure("acme")
        with publisher.producer(), pytest.raises(BrokerUnavailable, match="TAKETURNS_PUBLISH_CONNECTIONS"):
            send(publisher, "hello")
        send(publisher, "hello")


def test_a_missing_exchange_and_lost_queue_are_declared_again(
    publisher: Publisher, amqp: BlockingChannel
) -> None:
    """Whoever deletes the shared exchange or the lost queue under a running publisher loses no task by that."""
    publisher.ensure("acme")
    amqp.exchange_delete(EXCHANGE)
    send(publisher, "without the exchange")  # it is there again, the tenant's binding is not
    assert bodies(amqp, LOST_QUEUE) == ["without the exchange"]
    amqp.queue_delete(LOST_QUEUE)
    amqp.exchange_delete(LOST_EXCHANGE)
    send(publisher, "without the lost queue")
    assert bodies(amqp, LOST_QUEUE) == ["without the lost queue"]


def test_a_message_for_nobody_is_an_error(publisher: Publisher) -> None:
    """Every message is mandatory: what no queue takes is not confirmed."""
    publisher.ensure("acme")
    with pytest.raises(PublishNotConfirmed, match="no such queue"):
        publisher.publish(b"{}", exchange="", routing_key="no such queue", properties=PROPERTIES)


def test_a_refused_message_is_an_error_that_tells_why(publisher: Publisher) -> None:
    """What the broker refuses to take is reported in its own words."""
    publisher.ensure("acme")
    with pytest.raises(PublishNotConfirmed, match="user_id"), publisher.producer() as producer:
        producer.publish("{}", exchange=EXCHANGE, routing_key="usersequence_acme", user_id="somebody else")
    send(publisher, "and the next one goes through")


def test_kombu_producers_are_confirmed_too(publisher: Publisher, amqp: BlockingChannel) -> None:
    """The lent producer does what Celery asks of one, and reports what no queue took."""
    publisher.ensure("acme")
    with publisher.producer() as producer:
        producer.publish(
            ["a"], exchange=EXCHANGE, routing_key="usersequence_acme", serializer="json", retry=True
        )
        producer.publish(["b"], exchange=EXCHANGE, routing_key="usersequence_acme", serializer="json")
    assert bodies(amqp) == [["a"], ["b"]]
    with publisher.producer() as producer, pytest.raises(PublishNotConfirmed):
        producer.publish(["c"], exchange="", routing_key="no such queue", mandatory=True, retry=True)


def test_a_forked_child_has_connections_of_its_own(
    settings: Settings, between: proxy.Proxy, amqp: BlockingChannel
) -> None:
    """A child publishes without touching its parent's connection, and the parent goes on with it."""
    with publisher_for(settings, amqp_url=between.url) as publisher:
        publisher.ensure("acme")
        assert between.accepted == 1
        child = multiprocessing.get_context("fork").Process(target=send, args=(publisher, "child"))
        child.start()
        child.join(timeout=20)
        assert child.exitcode == 0
        send(publisher, "parent")
        assert between.accepted == 2
    assert sorted(bodies(amqp)) == ["child", "parent"]


def test_a_forked_child_is_not_blocked_by_what_a_thread_held(settings: Settings) -> None:
    """Locks and connections that other threads held at the fork do not exist for the child."""
    with publisher_for(settings, publish_connections=1) as publisher:
        publisher.ensure("acme")
        release, held = threading.Event(), threading.Event()

        def hold() -> None:
            with publisher.producer(), publisher._declaring:
                held.set()
                release.wait(20)

        thread = threading.Thread(target=hold)
        thread.start()
        assert held.wait(10)
        child = multiprocessing.get_context("fork").Process(target=publisher.ensure, args=("beta",))
        child.start()
        child.join(timeout=20)
        release.set()
        thread.join()
        assert child.exitcode == 0


def test_the_broadcast_is_for_the_workers_that_serve_tenants(
    settings: Settings, amqp: BlockingChannel
) -> None:
    """A new queue is told to those workers only, by Celery's own command, with all of its arguments."""
    turns = TakeTurns(Celery("shop", set_as_current=False), settings)
    amqp.exchange_declare("celery.pidbox", "fanout")
    amqp.queue_declare("ears")
    amqp.queue_bind("ears", "celery.pidbox")
    turns.publisher.ensure("early")
    turns.registry.worker_alive("w1@host", 60)
    turns.registry.worker_alive("w2@host", 60)
    turns.publisher.ensure("acme")
    turns.publisher.ensure("acme")
    turns.close()
    (heard,) = bodies(amqp, "ears")
    assert heard["method"] == "add_consumer"
    assert sorted(heard["destination"]) == ["w1@host", "w2@host"]
    assert heard["arguments"]["queue"] == "usersequence_acme"
    assert heard["arguments"]["queue_arguments"] == {"x-queue-type": "classic", "x-max-priority": 2}


def test_activity_is_recorded_once_a_second(turns: TakeTurns, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand tasks of a tenant cost a call or two to Redis, and its activity is known."""
    touch = mock.Mock(wraps=turns.registry.touch)
    monkeypatch.setattr(turns.registry, "touch", touch)
    began = time.monotonic()
    for _ in range(1000):
        turns.publisher.ensure("acme")
    assert 1 <= touch.call_count <= 1 + time.monotonic() - began
    assert turns.registry.activity()["acme"] == pytest.approx(time.time(), abs=5)


def test_a_queue_whose_activity_is_gone_is_declared_again(
    turns: TakeTurns, broker: Broker, amqp: BlockingChannel, eventually: Callable[..., None]
) -> None:
    """After the reaper has removed a queue, the next task brings it back within a second."""
    turns.publisher.ensure("acme")
    amqp.queue_delete("usersequence_acme")
    turns.registry.clear_activity("acme")

    def back() -> bool:
        turns.publisher.ensure("acme")
        answer = requests.get(broker.api("queues/{vhost}/usersequence_acme"), timeout=10)
        return answer.status_code == 200

    eventually(back, within=5)


def test_without_redis_publishing_goes_on(settings: Settings, amqp: BlockingChannel) -> None:
    """Redis is needed for no publish: neither for a new tenant's nor for a known one's."""
    away = replace(settings, redis=settings.redis.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    with publisher_for(away) as publisher:
        for n in range(3):
            publisher.ensure("acme")
            send(publisher, str(n))
    assert bodies(amqp) == ["0", "1", "2"]


def test_failover_hosts_are_tried(settings: Settings, broker: Broker, amqp: BlockingChannel) -> None:
    """Of several hosts in broker_url the first that answers is used, and confirms as ever."""
    with publisher_for(settings, amqp_url=f"amqp://127.0.0.1:1//;{broker.amqp_url}") as publisher:
        publisher.ensure("acme")
        send(publisher, "hello")
        with pytest.raises(PublishNotConfirmed):
            publisher.publish(b"{}", exchange="", routing_key="no such queue", properties={})
    assert bodies(amqp) == ["hello"]


def test_another_broker_than_rabbitmq_is_refused(settings: Settings) -> None:
    """An app on Redis is told at its first publish that tenants need RabbitMQ."""
    redis = "redis://127.0.0.1:1/0"
    with (
        publisher_for(settings, amqp_url=redis) as publisher,
        pytest.raises(TaketurnsError, match="RabbitMQ"),
    ):
        publisher.ensure("acme")
