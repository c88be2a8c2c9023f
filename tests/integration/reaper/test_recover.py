"""What becomes of messages whose queue is not there."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pika
import pytest
import requests

from support import proxy
from support.publishing import installed
from support.reaping import lose, meanwhile, publish, queues
from support.workers import Ledger, worker
from taketurns.errors import BrokerUnavailable, PublishNotConfirmed
from taketurns.reaper import recover
from taketurns.reaper.recover import Recoverer, RecoverReport
from taketurns.tenants import queue_name
from taketurns.topology import DEAD_QUEUE, EXCHANGE, LOST_QUEUE, TENANT_QUEUE_ARGUMENTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from support.servers import Broker
    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Eventually = Callable[..., None]


def waiting(channel: BlockingChannel, queue: str) -> int:
    return int(channel.queue_declare(queue, passive=True).method.message_count)


def test_a_lost_task_runs(
    shop: Any,
    turns: TakeTurns,
    settings: Settings,
    recoverer: Recoverer,
    ledger: Ledger,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """A task whose queue was deleted under its publisher is run by the workers soon after it is sent on."""
    with worker(settings, tmp_path, "-P", "threads", "-c", "1", TAKETURNS_WORKER_RECONCILE_INTERVAL="600"):
        shop.work.apply_async(("first",), tenant="acme")
        eventually(lambda: ledger.labels() == ["first"])
        turns.management.delete_queue(queue_name("acme"), if_empty=False, if_unused=False)
        shop.work.apply_async(("second",), tenant="acme")
        # The broadcast tells the worker, which else would not look for ten minutes.
        eventually(lambda: recoverer.run_once() and ledger.labels() == ["first", "second"])


def test_what_was_perhaps_sent_on_before_does_not_run_again(
    shop: Any,
    settings: Settings,
    recoverer: Recoverer,
    channel: BlockingChannel,
    ledger: Ledger,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """A broker that is killed may have forgotten that a lost message was sent on, though that has run since."""
    channel.queue_bind(LOST_QUEUE, EXCHANGE, queue_name("acme"))  # beside the tenant's: both get a copy
    task = shop.work.apply_async(("once",), tenant="acme").id
    with worker(settings, tmp_path, "-P", "threads", "-c", "1"):
        eventually(lambda: shop.turns.tasks.get("acme", task).stored == "SUCCESS")
        channel.queue_unbind(LOST_QUEUE, EXCHANGE, queue_name("acme"))
        channel.basic_get(LOST_QUEUE)
        channel.basic_nack(0, multiple=True)
        assert recoverer.run_once() == RecoverReport(recovered=1)
        shop.work.apply_async(("after",), tenant="acme")
        eventually(lambda: "after" in ledger.labels())
    assert ledger.labels() == ["once", "after"]


def test_a_message_is_sent_on_as_it_was(recoverer: Recoverer, channel: BlockingChannel) -> None:
    """Body, headers and properties arrive unchanged in a new queue declared as all tenant queues are."""
    sent = pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf-16",
        headers={"id": "x", "retries": 3, "none": None, "big": 2**40, "nested": {"list": [1, True, "ü"]}},
        delivery_mode=2,
        priority=2,
        correlation_id="c",
        reply_to="r",
        message_id="m",
        timestamp=1_700_000_000,
        type="t",
        app_id="a",
    )
    name, text = queue_name("A@b.co"), b"\xfe\xff\x00{\x00}"  # decoded and encoded again it would be another
    channel.basic_publish(EXCHANGE, name, text, sent, mandatory=True)
    assert recoverer.run_once() == RecoverReport(recovered=1)
    method, properties, body = channel.basic_get(name)
    assert body == text
    assert properties == sent
    assert (method.exchange, method.routing_key) == (EXCHANGE, name)
    channel.queue_declare(name, durable=True, arguments=dict(TENANT_QUEUE_ARGUMENTS["classic"]))
    recoverer.close()  # what it had not acknowledged would come back now
    assert waiting(channel, LOST_QUEUE) == 0


def test_an_empty_body_is_sent_on(recoverer: Recoverer, channel: BlockingChannel) -> None:
    """A message without a body is sent on too."""
    lose(channel, "acme", b"")
    assert recoverer.run_once() == RecoverReport(recovered=1)
    assert channel.basic_get(queue_name("acme"))[2] == b""


def test_several_tenants_at_once(turns: TakeTurns, recoverer: Recoverer, channel: BlockingChannel) -> None:
    """The messages of several tenants all arrive, each tenant's in their order, and the tenants count as active."""
    for n in range(5):
        for tenant in ("a", "b"):
            lose(channel, tenant, f"{tenant}{n}".encode())
    assert recoverer.run_once() == RecoverReport(recovered=10)
    for tenant in ("a", "b"):
        bodies = [channel.basic_get(queue_name(tenant), auto_ack=True)[2] for _ in range(5)]
        assert bodies == [f"{tenant}{n}".encode() for n in range(5)]
    assert set(turns.registry.activity()) == {"a", "b"}


@pytest.mark.parametrize("whose", [{"taketurns_tenant": "not valid!"}, {}])
def test_a_message_of_no_tenant_goes_to_the_dead(
    whose: dict[str, str], recoverer: Recoverer, channel: BlockingChannel
) -> None:
    """What was published for a queue that is no tenant's goes to the dead-letter queue, with the reason."""
    sent = pika.BasicProperties(headers={"id": "x", **whose}, priority=1)
    channel.basic_publish(EXCHANGE, "no_tenant_queue", b"body", sent, mandatory=True)
    assert recoverer.run_once() == RecoverReport(dead=1)
    _, properties, body = channel.basic_get(DEAD_QUEUE)
    assert body == b"body"
    assert properties.priority == 1
    assert properties.headers["id"] == "x"
    assert properties.headers["taketurns_dead_queue"] == "no_tenant_queue"
    assert "no tenant queue" in properties.headers["taketurns_dead_reason"]
    datetime.fromisoformat(properties.headers["taketurns_dead_at"])
    assert waiting(channel, LOST_QUEUE) == 0


def test_the_header_tells_the_tenant_too(recoverer: Recoverer, channel: BlockingChannel) -> None:
    """A message that lost its routing key on a detour, such as an operator's shovel, is known by its header."""
    headers = pika.BasicProperties(headers={"taketurns_tenant": "acme"})
    channel.basic_publish("", LOST_QUEUE, b"{}", headers, mandatory=True)
    assert recoverer.run_once() == RecoverReport(recovered=1)
    assert waiting(channel, queue_name("acme")) == 1


def test_a_queue_declared_otherwise_is_used_as_it_is(
    turns: TakeTurns, recoverer: Recoverer, channel: BlockingChannel
) -> None:
    """A tenant's messages go into its queue although somebody declared it otherwise, and unbound."""
    lose(channel, "acme", b"1")
    lose(channel, "other", b"2")
    channel.queue_declare(queue_name("acme"), durable=True)
    assert recoverer.run_once() == RecoverReport(recovered=2)
    assert waiting(channel, queue_name("acme")) == 1
    assert waiting(channel, queue_name("other")) == 1


def test_recovery_needs_no_redis(settings: Settings, recoverer: Recoverer, channel: BlockingChannel) -> None:
    """While Redis is away lost tasks are sent on all the same."""
    nowhere = replace(settings, redis=settings.redis.model_copy(update={"redis_url": "redis://127.0.0.1:1"}))
    lose(channel, "acme")
    with installed(nowhere) as own:
        without = Recoverer(own)
        assert without.run_once() == RecoverReport(recovered=1)
        without.close()
    assert waiting(channel, queue_name("acme")) == 1


def test_what_cannot_be_sent_on_stays(
    broker: Broker,
    recoverer: Recoverer,
    channel: BlockingChannel,
    caplog: pytest.LogCaptureFixture,
    eventually: Eventually,
) -> None:
    """A message that the broker refuses stays in the lost queue, is logged once, and does not hold up the others."""
    policy = broker.api("policies/{vhost}/full")
    definition = {"max-length": 1, "overflow": "reject-publish"}
    full = {"pattern": "^usersequence_full$", "definition": definition, "apply-to": "queues"}
    requests.put(policy, json=full, timeout=10).raise_for_status()
    channel.queue_declare(queue_name("full"), durable=True, arguments=dict(TENANT_QUEUE_ARGUMENTS["classic"]))
    channel.basic_publish("", queue_name("full"), b"the one that fits", mandatory=True)
    lose(channel, "full")
    lose(channel, "acme")
    assert recoverer.run_once() == RecoverReport(recovered=1, failed=1)
    eventually(lambda: waiting(channel, LOST_QUEUE) == 1)
    assert recoverer.run_once() == RecoverReport(failed=1)
    assert waiting(channel, queue_name("acme")) == 1
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    requests.delete(policy, timeout=10).raise_for_status()
    channel.queue_purge(queue_name("full"))
    eventually(lambda: waiting(channel, LOST_QUEUE) == 1)
    assert recoverer.run_once() == RecoverReport(recovered=1)


def test_a_message_that_was_perhaps_sent_on_is_sent_again(
    turns: TakeTurns,
    recoverer: Recoverer,
    channel: BlockingChannel,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Eventually,
) -> None:
    """If the confirm does not come, the message stays and is sent on again: twice rather than never."""

    def lose_the_confirm() -> None:
        raise PublishNotConfirmed("no confirm came")

    with monkeypatch.context() as patch:
        meanwhile(patch, turns.publisher, "publish", after=lose_the_confirm)
        lose(channel, "acme")
        assert recoverer.run_once() == RecoverReport(failed=1)
    eventually(lambda: waiting(channel, LOST_QUEUE) == 1)
    assert recoverer.run_once() == RecoverReport(recovered=1)
    assert waiting(channel, queue_name("acme")) == 2


def test_a_run_is_bounded(
    recoverer: Recoverer, channel: BlockingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long lost queue is worked off in runs, and each but the last says that there is more."""
    monkeypatch.setattr(recover, "BATCH", 3)
    for _ in range(7):
        lose(channel, "acme")
    runs = [recoverer.run_once() for _ in range(3)]
    assert [(run.recovered, run.more) for run in runs] == [(3, True), (3, True), (1, False)]
    assert waiting(channel, queue_name("acme")) == 7


def test_a_message_that_is_lost_again_waits_for_the_next_run(
    turns: TakeTurns, recoverer: Recoverer, channel: BlockingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the queue vanishes again at the last moment, the message is not chased in circles."""
    lose(channel, "acme")
    with monkeypatch.context() as patch:
        meanwhile(patch, turns.publisher, "publish", before=lambda: channel.queue_delete(queue_name("acme")))
        assert recoverer.run_once() == RecoverReport(recovered=1)
        assert waiting(channel, LOST_QUEUE) == 1
    assert recoverer.run_once() == RecoverReport(recovered=1)
    assert waiting(channel, queue_name("acme")) == 1


def test_recoverers_side_by_side_send_each_message_once(turns: TakeTurns, channel: BlockingChannel) -> None:
    """Two that work at a time share the messages between them."""
    recoverers = [Recoverer(turns) for _ in range(2)]
    recoverers[0].run_once()
    for n in range(200):
        lose(channel, f"t{n % 10}")
    reports: list[RecoverReport] = []
    threads = [
        threading.Thread(target=lambda each=each: reports.append(each.run_once())) for each in recoverers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in recoverers:
        each.close()
    assert sum(report.recovered for report in reports) == 200
    assert {waiting(channel, queue_name(f"t{n}")) for n in range(10)} == {20}


def test_a_lost_connection_is_replaced(settings: Settings, broker: Broker, channel: BlockingChannel) -> None:
    """A run whose connection is gone reports it, with the messages safe, and the next run goes on."""
    with proxy.running(broker.amqp_url) as between:
        update = {"amqp_url": between.url, "publish_timeout": 3.0}
        with installed(replace(settings, broker=settings.broker.model_copy(update=update))) as turns:
            recoverer = Recoverer(turns)
            recoverer.run_once()
            lose(channel, "acme")
            between.silence()
            with pytest.raises(BrokerUnavailable):
                recoverer.run_once()
            between.drop()
            assert recoverer.run_once() == RecoverReport(recovered=1)
            recoverer.close()


def test_a_vanished_lost_queue_is_declared_again(
    turns: TakeTurns, recoverer: Recoverer, channel: BlockingChannel
) -> None:
    """After somebody deleted the lost queue, a run fails with the reason and the next one makes it again."""
    channel.queue_delete(LOST_QUEUE)
    with pytest.raises(BrokerUnavailable, match="no queue"):
        recoverer.run_once()
    assert recoverer.run_once() == RecoverReport()
    publish(turns, "acme")
    assert recoverer.run_once() == RecoverReport(recovered=1)
    assert queues(turns) == {"acme"}


def test_a_message_waits_while_its_queue_is_being_removed(
    turns: TakeTurns, recoverer: Recoverer, channel: BlockingChannel, eventually: Eventually
) -> None:
    """The recoverer does not open the way into a queue that is being removed; other tenants don't wait for it."""
    lose(channel, "acme")
    lose(channel, "other")
    turns.registry.mark_draining(["acme"], 30)
    assert recoverer.run_once() == RecoverReport(recovered=1, postponed=1)
    assert queues(turns) == {"other"}
    eventually(lambda: waiting(channel, LOST_QUEUE) == 1)
    turns.registry.unmark_draining(["acme"])
    assert recoverer.run_once() == RecoverReport(recovered=1)
