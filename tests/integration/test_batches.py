"""Many tasks submitted together, on a real broker: all confirmed, or an error for each."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from celery import signals

from support import proxy
from support.outages import without_redis
from support.publishing import installed
from support.workers import worker
from taketurns import TenantTask
from taketurns.errors import (
    BacklogFull,
    BrokerUnavailable,
    InvalidBatch,
    InvalidInput,
    KeyConflict,
    KeyInUse,
    PublishNotConfirmed,
    RegistryUnavailable,
    UnknownTask,
)
from taketurns.idempotency import Keys, Wanted, fingerprint
from taketurns.topology import LOST_EXCHANGE, LOST_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from support.servers import Broker
    from support.workers import Ledger
    from taketurns import TakeTurns
    from taketurns.settings import Settings
    from taketurns.store import Store

    Eventually = Callable[..., None]

QUEUE = "usersequence_acme"


def echo(label: str) -> str:
    return label


def several(task: Any, count: int, **options: Any) -> list[Any]:
    return [(task, (f"a-{number}",), {}, options) for number in range(count)]


def waiting(amqp: BlockingChannel, queue: str = QUEUE) -> int:
    return int(amqp.queue_declare(queue, passive=True).method.message_count)


@contextmanager
def through(between: proxy.Proxy, settings: Settings, **broker: Any) -> Iterator[Any]:
    """Lend a task, and its extension, whose broker is behind a proxy."""
    changed = {"amqp_url": between.url, "publish_timeout": 1.0, **broker}
    with installed(replace(settings, broker=settings.broker.model_copy(update=changed))) as turns:
        yield turns, turns.app.task(echo, base=TenantTask, name="work", shared=False)


def test_ten_thousand_tasks_run_exactly_once(
    shop: Any, settings: Settings, tmp_path: Path, ledger: Ledger, eventually: Eventually
) -> None:
    """All are confirmed, each has a record, and each runs once."""
    told = shop.turns.submit_many("acme", several(shop.work, 10_000))
    assert [each.error for each in told] == [None] * 10_000
    ids = {each.task_id for each in told}
    assert len(ids) == 10_000
    assert all(shop.turns.records.of("acme", sorted(ids)))
    with worker(settings, tmp_path, "-P", "threads", "-c", "4"):
        eventually(lambda: len(ledger) >= 10_000, within=120)
    assert Counter(row["id"] for row in ledger.rows()) == dict.fromkeys(ids, 1)


def test_the_options_are_those_of_a_single_submission(turns: TakeTurns, work: Any) -> None:
    """Messages of a batch are the same as those of ``apply_async``, but for ids and times."""
    options = {
        "priority": "high",
        "expires": 3600,
        "max_retries": 7,
        "time_limit": 9.5,
        "soft_time_limit": 4,
        "tags": ["import"],
        "shadow": "another",
    }
    work.apply_async(("a",), tenant="acme", **options)
    turns.submit_many("acme", [(work, ("a",), {}, options)])
    messages = taken(turns)
    assert len(messages) == 2
    for message in messages:
        for name in ("id", "root_id", "expires", "taketurns_submission"):
            assert message["headers"].pop(name)
        for name in ("correlation_id", "timestamp", "application_headers"):
            message["properties"].pop(name, None)
    assert messages[0] == messages[1]


def taken(turns: TakeTurns, queue: str = QUEUE) -> list[dict[str, Any]]:
    """Take all messages out of a queue."""
    found = []
    with turns.app.connection_for_write() as connection:
        while (message := connection.default_channel.basic_get(queue, no_ack=True)) is not None:
            raw = connection.default_channel.message_to_python(message)
            found.append({"headers": dict(raw.headers), "properties": dict(raw.properties), "body": raw.body})
    return found


def test_what_is_due_later_waits(
    turns: TakeTurns, work: Any, amqp: BlockingChannel, eventually: Eventually
) -> None:
    """Each task of a batch has its own delay."""
    batch: list[Any] = [(work, ("now",), {}, {}), (work, ("later",), {}, {"countdown": 1.0})]
    assert [each.error for each in turns.submit_many("acme", batch)] == [None, None]
    assert waiting(amqp) == 1
    eventually(lambda: waiting(amqp) == 2)


def test_one_that_is_wrong_keeps_all_from_being_submitted(
    turns: TakeTurns, work: Any, amqp: BlockingChannel
) -> None:
    """Each of the wrong ones is told, with its place."""
    turns.publisher.ensure("acme")
    wrong: list[Any] = [
        (work, ("a",), {}, {}),
        ("no.such.task", (), {}, {}),
        (work, ("a", "b", "c"), {}, {}),
        (work, (object(),), {}, {}),
        (work, ("a",), {}, {"priority": "urgent"}),
        (work, ("a",), {}, {"queue": "other"}),
        (work, ("a",), {}, {"countdown": 1e9}),
        (work, ("a",), {}, {"idempotency_key": ""}),
        (work, ("a",), {}, {"task_id": "same"}),
        (work, ("a",), {}, {"task_id": "same"}),
        (work, ("a",)),
        work,
        "work",
    ]
    with pytest.raises(InvalidBatch, match="11 of the tasks can't be submitted") as caught:
        turns.submit_many("acme", wrong)
    kinds = {place: type(error) for place, error in caught.value.errors.items()}
    assert kinds == {1: UnknownTask} | dict.fromkeys((2, 3, 4, 5, 6, 7, 9, 10, 11, 12), InvalidInput)
    assert waiting(amqp) == 0


def test_the_cap_counts_the_whole_batch(turns: TakeTurns, work: Any, amqp: BlockingChannel) -> None:
    """A batch that would not fit is refused as a whole."""
    turns.registry.update("acme", max_backlog=10)
    turns.submit_many("acme", several(work, 6))
    for count in (5, 11):
        with pytest.raises(BacklogFull) as caught:
            turns.submit_many("acme", several(work, count))
        assert caught.value.more == count
    assert waiting(amqp) == 6
    turns.submit_many("acme", several(work, 4))
    assert waiting(amqp) == 10


def test_a_lost_connection_is_replaced_in_the_middle(
    settings: Settings, broker: Broker, amqp: BlockingChannel
) -> None:
    """What was under way is sent again, so nothing is missing; it may be there twice."""
    with proxy.running(broker.amqp_url) as between, through(between, settings) as (turns, task):
        sent = 0

        def cut(**_: Any) -> None:
            nonlocal sent
            sent += 1
            if sent == 500:
                between.cut()

        signals.before_task_publish.connect(cut)
        told = turns.submit_many("acme", several(task, 1000))
        signals.before_task_publish.disconnect(cut)
        assert [each.error for each in told] == [None] * 1000
        ids = [message["headers"]["id"] for message in taken(turns)]
        assert set(ids) == {each.task_id for each in told}


def test_a_broker_that_falls_silent_in_the_middle_leaves_an_error_for_each(
    settings: Settings, broker: Broker
) -> None:
    """What was sent is not confirmed, and what came after it was not submitted; in time."""
    with proxy.running(broker.amqp_url) as between, through(between, settings) as (turns, task):
        turns.publisher.ensure("acme")
        sent = 0

        def silence(**_: Any) -> None:
            nonlocal sent
            sent += 1
            if sent == 2500:
                between.stall()

        signals.before_task_publish.connect(silence)
        told = turns.submit_many("acme", several(task, 10_000))
        signals.before_task_publish.disconnect(silence)
        kinds = Counter(type(each.error) for each in told)
        assert kinds[type(None)] > 0
        assert kinds[PublishNotConfirmed] > 0
        assert kinds[BrokerUnavailable] > 0
        failed = next(each for each in told if type(each.error) is BrokerUnavailable)
        assert turns.records.get("acme", failed.task_id) is None


def test_a_batch_fails_as_a_whole_if_the_broker_is_away(settings: Settings, nowhere: str) -> None:
    """It is told in time, and nothing is remembered of it."""
    broker = settings.broker.model_copy(update={"amqp_url": f"amqp://{nowhere}", "publish_timeout": 1.0})
    with installed(replace(settings, broker=broker)) as turns:
        task = turns.app.task(echo, base=TenantTask, name="work", shared=False)
        before = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            turns.submit_many("acme", several(task, 100))
        assert time.monotonic() - before < 3
        assert turns.records.ids("acme", count=10) == []


def test_a_missing_lost_queue_is_declared_again(turns: TakeTurns, work: Any, amqp: BlockingChannel) -> None:
    """What came back as unroutable is sent once more: it was stored nowhere."""
    turns.submit_many("acme", several(work, 1))
    amqp.queue_delete(QUEUE)
    amqp.queue_delete(LOST_QUEUE)
    amqp.exchange_delete(LOST_EXCHANGE)
    told = turns.submit_many("acme", several(work, 50))
    assert [each.error for each in told] == [None] * 50
    assert waiting(amqp, LOST_QUEUE) == 50


def test_a_team_that_has_its_own_apply_async_keeps_it(turns: TakeTurns, amqp: BlockingChannel) -> None:
    """It is called for each task of a batch."""
    called = []

    class Reporting(TenantTask):
        abstract = True

        def apply_async(self, *args: Any, **options: Any) -> Any:
            called.append(args)
            return super().apply_async(*args, **options)

    task = turns.app.task(echo, base=Reporting, name="own", shared=False)
    told = turns.submit_many("acme", several(task, 3))
    assert [each.error for each in told] == [None] * 3
    assert len(called) == 3
    assert waiting(amqp) == 3


def test_a_key_counts_once_in_and_across_batches(turns: TakeTurns, work: Any, amqp: BlockingChannel) -> None:
    """The first one's id is the answer, and nothing is submitted again."""
    keyed: list[Any] = [(work, ("a",), {}, {"idempotency_key": key}) for key in ("k-1", "k-2", "k-1")]
    first = turns.submit_many("acme", keyed)
    again = turns.submit_many("acme", keyed)
    assert [each.duplicate for each in first] == [False, False, True]
    assert [each.duplicate for each in again] == [True, True, True]
    assert [each.task_id for each in first] == [each.task_id for each in again]
    assert first[0].task_id == first[2].task_id
    assert waiting(amqp) == 2
    result = work.apply_async(("a",), tenant="acme", idempotency_key="k-1")
    assert (result.id, result.duplicate) == (first[0].task_id, True)


def test_a_key_of_another_request_is_refused(turns: TakeTurns, work: Any, amqp: BlockingChannel) -> None:
    """Nothing of the batch is submitted, and its other keys are free again."""
    work.apply_async(("a",), tenant="acme", idempotency_key="k-1")
    with pytest.raises(KeyConflict):
        work.apply_async(("b",), tenant="acme", idempotency_key="k-1")
    batch: list[Any] = [
        (work, ("c",), {}, {"idempotency_key": "k-0"}),
        (work, ("b",), {}, {"idempotency_key": "k-1"}),
    ]
    with pytest.raises(InvalidBatch) as caught:
        turns.submit_many("acme", batch)
    assert list(caught.value.errors) == [1]
    assert waiting(amqp) == 1
    assert not work.apply_async(("d",), tenant="acme", idempotency_key="k-0").duplicate
    assert not work.apply_async(("b",), tenant="bolt", idempotency_key="k-1").duplicate


def test_what_was_not_submitted_frees_its_key(turns: TakeTurns, work: Any) -> None:
    """A refusal is not remembered: the same request may be accepted later."""
    turns.registry.update("acme", max_backlog=1)
    work.apply_async(("a",), tenant="acme")
    with pytest.raises(BacklogFull):
        work.apply_async(("b",), tenant="acme", idempotency_key="k")
    turns.purge("acme")
    assert not work.apply_async(("b",), tenant="acme", idempotency_key="k").duplicate


def test_a_key_needs_redis(settings: Settings, nowhere: str) -> None:
    """A promise that can't be kept is not given; without a key the same task is accepted."""
    with installed(without_redis(settings, nowhere)) as turns:
        task = turns.app.task(echo, base=TenantTask, name="work", shared=False)
        with pytest.raises(RegistryUnavailable):
            task.apply_async(("a",), tenant="acme", idempotency_key="k")
        assert task.apply_async(("a",), tenant="acme").id
        assert [each.error for each in turns.submit_many("acme", several(task, 3))] == [None] * 3


def test_who_is_killed_in_the_middle_is_followed_by_the_same_id(
    turns: TakeTurns, work: Any, store: Store, eventually: Eventually
) -> None:
    """A claim that nobody ends counts for a while; then the next request submits the task by the same id."""
    keys = Keys(store, 10_000)
    wanted = Wanted("k", fingerprint("work", ("a",), {}), "the-first-id")
    assert not keys.claim("acme", [wanted], wait=0, lasting=0)["k"].is_duplicate
    with pytest.raises(KeyInUse), turns.publisher.in_time(0.2):
        work.apply_async(("a",), tenant="acme", idempotency_key="k")
    [key] = store.call(lambda redis: list(redis.scan_iter(match=f"{store.tenant_key('acme', 'once')}*")))
    store.call(lambda redis: redis.hset(key, "till", 0))  # ten seconds later
    assert work.apply_async(("a",), tenant="acme", idempotency_key="k").id == "the-first-id"
    assert work.apply_async(("a",), tenant="acme", idempotency_key="k").duplicate


def test_a_hundred_at_once_submit_one(turns: TakeTurns, work: Any, amqp: BlockingChannel) -> None:
    """All of them have the same id for an answer."""
    with ThreadPoolExecutor(100) as pool:
        results = list(
            pool.map(
                lambda _: work.apply_async(("a",), tenant="acme", idempotency_key="k"),
                range(100),
            )
        )
    assert len({result.id for result in results}) == 1
    assert sum(not result.duplicate for result in results) == 1
    assert waiting(amqp) == 1
