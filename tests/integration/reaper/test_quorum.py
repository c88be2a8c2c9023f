"""Quorum tenant queues: what is given back is not lost, and nothing is by their removal."""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from support.publishing import installed
from support.reaping import meanwhile, publish, queues, reasons
from taketurns.reaper.reaper import Reaper
from taketurns.reaper.witnesses import Witnesses
from taketurns.tenants import queue_name
from taketurns.topology import LOST_QUEUE, TENANT_QUEUE_ARGUMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from support.reaping import ServedTenant
    from taketurns import TakeTurns
    from taketurns.management import Deletion
    from taketurns.reaper.recover import Recoverer
    from taketurns.settings import QueueType, Settings

    Eventually = Callable[..., None]

RETURNS = 30


def of_type(settings: Settings, queue_type: QueueType) -> Settings:
    return replace(settings, broker=settings.broker.model_copy(update={"queue_type": queue_type}))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return of_type(settings, "quorum")


@pytest.fixture
def witnesses(turns: TakeTurns) -> Iterator[Witnesses]:
    witnesses = Witnesses(turns.app, timeout=4.0)
    yield witnesses
    witnesses.disconnect()


def take(channel: BlockingChannel, queue: str) -> list[bytes]:
    """Take everything that is ready in a queue."""
    bodies = []
    while (found := channel.basic_get(queue, auto_ack=True))[0]:
        bodies.append(found[2])
    return bodies


def types(turns: TakeTurns) -> dict[str, object]:
    return {name: queue.arguments for name, queue in turns.management.tenant_queues().items()}


def test_a_message_that_is_given_back_thirty_times_is_still_the_first(
    turns: TakeTurns, channel: BlockingChannel
) -> None:
    """No delivery limit drops a task that workers give back, and it stays before those that came after it."""
    name = turns.publisher.ensure("acme")
    for body in (b"first", b"second"):
        turns.publisher.publish(body, routing_key=name, properties={})
    for _ in range(RETURNS):
        method, _, body = channel.basic_get(name)
        assert body == b"first"
        channel.basic_reject(method.delivery_tag, requeue=True)
    assert take(channel, name) == [b"first", b"second"]


def test_after_a_change_of_the_type_old_queues_are_used_and_removed_like_new_ones(
    turns: TakeTurns, settings: Settings, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    """A queue of our other type gets tasks, is no foreign one, goes when it is idle, and comes again as a new one."""
    with installed(of_type(settings, "classic")) as before:
        before.publisher.ensure("old")
    assert turns.publisher.ensure("old") == queue_name("old")
    turns.publisher.ensure("new")
    assert types(turns) == {
        queue_name("old"): TENANT_QUEUE_ARGUMENTS["classic"],
        queue_name("new"): TENANT_QUEUE_ARGUMENTS["quorum"],
    }
    assert "declared otherwise" not in caplog.text
    assert set(Reaper(turns).run_once().removed) == {"old", "new"}
    assert queues(turns) == set()
    eventually(lambda: turns.publisher.ensure("old") and queues(turns) == {"old"})
    assert types(turns) == {queue_name("old"): TENANT_QUEUE_ARGUMENTS["quorum"]}


def test_an_idle_queue_is_removed_under_a_live_worker(
    acme: ServedTenant, turns: TakeTurns, recoverer: Recoverer, eventually: Eventually
) -> None:
    """The queue that a worker consumes goes once it is idle, and the tenant's next task makes a new one and runs."""
    reaper = Reaper(turns)
    eventually(
        lambda: reaper.run_once().removed == ("acme",), within=20
    )  # the listing is behind by up to 5 s
    assert queues(turns) == set()
    acme.submit("second")
    eventually(lambda: recoverer.run_once() and acme.ledger.labels() == ["first", "second"])


def test_an_empty_queue_that_nobody_uses_is_deleted(turns: TakeTurns, witnesses: Witnesses) -> None:
    """An empty queue goes; one that is not there is gone."""
    name = turns.publisher.ensure("acme")
    assert witnesses.delete_queue(name) == "deleted"
    assert witnesses.delete_queue(name) == "gone"


def ready(_: BlockingChannel, __: str) -> None:
    """Leave the message where it is."""


def got(channel: BlockingChannel, name: str) -> None:
    channel.basic_get(name)


def consumed(channel: BlockingChannel, name: str) -> None:
    next(channel.consume(name))


def held_by_a_cancelled_consumer(channel: BlockingChannel, name: str) -> None:
    """Hold it, as a worker does whose task runs on after its queue was taken off."""
    held = []
    tag = channel.basic_consume(name, lambda *delivery: held.append(delivery))
    while not held:
        channel.connection.process_data_events(0.1)
    channel.basic_cancel(tag)


@pytest.mark.parametrize("use", [ready, got, consumed, held_by_a_cancelled_consumer])
def test_a_queue_stays_while_its_message_is_anywhere(
    use: Callable[[BlockingChannel, str], None],
    turns: TakeTurns,
    channel: BlockingChannel,
    witnesses: Witnesses,
    eventually: Eventually,
) -> None:
    """A message that is ready, or held by a stranger with or without a consumer, keeps its queue and stays in it."""
    name = turns.publisher.ensure("acme")
    publish(turns, "acme")
    use(channel, name)
    assert witnesses.delete_queue(name) == "refused"
    channel.close()
    back = channel.connection.channel()
    eventually(lambda: back.queue_declare(name, passive=True).method.message_count == 1)
    assert take(back, name) == [b"{}"]


def test_a_queue_with_an_idle_consumer_stays(
    turns: TakeTurns, channel: BlockingChannel, witnesses: Witnesses
) -> None:
    """A consumer that is none of our workers keeps an empty queue."""
    name = turns.publisher.ensure("acme")
    channel.basic_consume(name, lambda *_: None)
    assert witnesses.delete_queue(name) == "refused"
    assert queues(turns) == {"acme"}


def test_a_message_that_the_listing_does_not_show_keeps_its_queue(
    turns: TakeTurns, channel: BlockingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that came before the way was closed is found, though the listing is seconds behind."""
    name = turns.publisher.ensure("acme")
    reaper = Reaper(turns)
    meanwhile(monkeypatch, reaper, "_routes.close", before=lambda: publish(turns, "acme"))
    assert reasons(reaper.run_once()) == {"acme": "in use: a message or a consumer came meanwhile"}
    publish(turns, "acme")  # the way is open again
    assert take(channel, name) == [b"{}", b"{}"]


def test_no_task_is_lost_however_removals_and_publishing_meet(
    turns: TakeTurns, recoverer: Recoverer, channel: BlockingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 300 queues each gets tasks at the moment of its removal: each task is in a queue in the end, once."""
    reaper = Reaper(turns)
    delete = reaper._witnesses.delete_queue
    going: list[str] = []

    def told(name: str) -> Deletion:
        going.append(name)
        return delete(name)

    monkeypatch.setattr(reaper._witnesses, "delete_queue", told)
    done = threading.Event()
    tenants: list[str] = []
    published: list[bytes] = []

    def keep_publishing(number: int) -> None:
        chance = random.Random(number)
        count = 0
        while not done.is_set():
            if not going and done.wait(
                0.02
            ):  # a few before the removals begin, then always into the queue that goes
                break
            name = going[-1] if going else queue_name(chance.choice(tenants))
            body = f"{number}-{count}".encode()
            turns.publisher.publish(body, routing_key=name, properties={})
            published.append(body)
            count += 1

    publishers = [threading.Thread(target=keep_publishing, args=(number,)) for number in range(2)]
    arrived: Counter[bytes] = Counter()
    removed = 0
    for number in range(3):
        tenants[:] = [f"r{number}-{n}" for n in range(100)]
        for tenant in tenants:
            turns.publisher.ensure(tenant)
        if not number:
            for thread in publishers:
                thread.start()
        removed += len(reaper.run_once().removed)
        going.clear()
    done.set()
    for thread in publishers:
        thread.join()
    while recoverer.run_once().recovered:
        pass
    for name in turns.management.tenant_queues():
        arrived.update(take(channel, name))
    assert take(channel, LOST_QUEUE) == []
    assert arrived == Counter(published)
    assert removed > 100
