"""What comes in between while queues are being removed: tasks, holders, silence."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from support.reaping import ServedTenant, meanwhile, publish, queues, reasons
from taketurns.reaper.reaper import Reaper
from taketurns.tenants import queue_name
from taketurns.topology import LOST_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel

    from taketurns import TakeTurns
    from taketurns.reaper.recover import Recoverer

    Eventually = Callable[..., None]


def test_a_running_task_keeps_its_queue(
    acme: ServedTenant,
    turns: TakeTurns,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Eventually,
) -> None:
    """A queue without ready messages stays while a worker runs its task, and is served again afterwards."""
    reaper = Reaper(turns)

    def submit() -> None:
        acme.submit("long", 4)
        eventually(lambda: turns.management.tenant_queues()[queue_name("acme")].unacknowledged == 1)

    meanwhile(monkeypatch, reaper, "_workers.drain", before=submit)
    assert reasons(reaper.run_once()) == {"acme": f"held by worker {acme.worker.name}"}
    assert reasons(Reaper(turns).run_once(dry_run=True)) == {"acme": "1 message unacknowledged"}
    assert turns.registry.draining() == set()
    acme.submit("next")
    # Served again at once: neither the expiry of the drain nor a reconciliation is waited for.
    acme.has_run("first", "next", "long", within=6)
    acme.worker.stop()
    assert not any(row["redelivered"] for row in acme.ledger.rows())


def test_a_worker_that_does_not_answer_keeps_the_queues(acme: ServedTenant, turns: TakeTurns) -> None:
    """While a live worker is silent nothing goes; when it comes back it serves the tenant again."""
    with acme.worker.silent():
        report = Reaper(turns).run_once()
    assert reasons(report) == {"acme": f"no answer from worker {acme.worker.name}"}
    assert queues(turns) == {"acme"}
    assert turns.registry.draining() == set()
    acme.submit("second")
    acme.has_run("first", "second", within=6)


def test_a_message_held_by_a_stranger_keeps_its_queue(
    turns: TakeTurns, channel: BlockingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that some client holds without consuming keeps the queue, to the broker empty and unused."""
    turns.publisher.ensure("acme")
    reaper = Reaper(turns)

    def fetch() -> None:
        publish(turns, "acme")
        channel.basic_get(queue_name("acme"))

    meanwhile(monkeypatch, reaper, "_workers.drain", after=fetch)
    assert reasons(reaper.run_once()) == {"acme": "1 message unacknowledged"}
    assert queues(turns) == {"acme"}


def test_a_queue_with_a_strange_consumer_stays(turns: TakeTurns, channel: BlockingChannel) -> None:
    """A consumer that is none of our workers, such as a stock Celery worker, keeps the queue."""
    turns.publisher.ensure("acme")
    channel.basic_consume(queue_name("acme"), lambda *_: None)
    before = turns.registry.activity()["acme"]
    assert reasons(Reaper(turns).run_once()) == {"acme": "in use: a message or a consumer came meanwhile"}
    assert queues(turns) == {"acme"}
    assert turns.registry.activity()["acme"] > before  # it is left in peace for another idle time
    assert turns.registry.draining() == set()


@pytest.mark.parametrize(("step", "moment"), [("_workers.drain", "after"), ("_routes.close", "before")])
def test_a_task_published_before_the_deletion_prevents_it(
    step: str, moment: str, acme: ServedTenant, turns: TakeTurns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that comes before the way into its queue is closed keeps the queue and runs, once."""
    reaper = Reaper(turns)
    meanwhile(monkeypatch, reaper, step, **{moment: lambda: acme.submit("second")})
    assert reasons(reaper.run_once()) == {"acme": "1 message"}
    acme.has_run("first", "second", within=5)
    assert queues(turns) == {"acme"}


@pytest.mark.parametrize(
    ("step", "moment"),
    [
        ("_routes.close", "after"),
        ("_management.delete_queue", "before"),
        ("_management.delete_queue", "after"),
    ],
)
def test_a_task_published_later_is_lost_and_found(
    step: str,
    moment: str,
    acme: ServedTenant,
    turns: TakeTurns,
    recoverer: Recoverer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A task that finds the way closed, or its queue gone, takes the way through the lost queue and runs, once."""
    reaper = Reaper(turns)
    meanwhile(monkeypatch, reaper, step, **{moment: lambda: acme.submit("second")})
    assert reaper.run_once().removed == ("acme",)
    lost = turns.management.queue(LOST_QUEUE)
    assert lost is not None
    assert lost.ready == 1
    assert recoverer.run_once().recovered == 1
    acme.has_run("first", "second", within=5)


def test_a_queue_that_stays_gets_tasks_as_before(
    turns: TakeTurns, channel: BlockingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way into a queue that was not removed after all is open again when the run ends."""
    turns.publisher.ensure("acme")
    reaper = Reaper(turns)
    by_itself = {"before": lambda: channel.basic_publish("", queue_name("acme"), b"{}", mandatory=True)}
    meanwhile(monkeypatch, reaper, "_management.delete_queue", **by_itself)
    assert reasons(reaper.run_once()) == {"acme": "in use: a message or a consumer came meanwhile"}
    publish(turns, "acme")
    assert channel.queue_declare(queue_name("acme"), passive=True).method.message_count == 2


def test_nothing_vanishes_at_the_moment_of_deletion(
    turns: TakeTurns, recoverer: Recoverer, channel: BlockingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent while the broker deletes the queue, and would confirm and drop it, arrives all the same."""
    reaper = Reaper(turns)
    deleting, done = threading.Event(), threading.Event()
    published = Counter[int]()

    def keep_publishing(number: int) -> None:
        while not done.is_set():
            if deleting.wait(0.1):
                publish(turns, "acme")
                published[number] += 1

    def take_all() -> int:
        if not queues(turns):
            return 0
        return int(channel.queue_purge(queue_name("acme")).method.message_count)

    meanwhile(monkeypatch, reaper, "_management.delete_queue", before=deleting.set, after=deleting.clear)
    publishers = [threading.Thread(target=keep_publishing, args=(number,)) for number in range(3)]
    for thread in publishers:
        thread.start()
    arrived = removed = 0
    try:
        for _ in range(30):
            turns.publisher.ensure("acme")
            removed += len(reaper.run_once().removed)
            recoverer.run_once()
            arrived += take_all()
    finally:
        done.set()
        for thread in publishers:
            thread.join()
    while recoverer.run_once().recovered:
        pass
    assert arrived + take_all() == published.total()
    assert removed > 2


def test_activity_while_draining_keeps_the_queue(turns: TakeTurns, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delayed task that is submitted meanwhile keeps the queue, although nothing of it is there yet."""
    turns.publisher.ensure("acme")
    later = turns.registry.activity()["acme"] + 500
    reaper = Reaper(turns)
    meanwhile(monkeypatch, reaper, "_workers.drain", after=lambda: turns.registry.touch("acme", until=later))
    assert reasons(reaper.run_once())["acme"].startswith("delayed task due in ")
    assert queues(turns) == {"acme"}


def test_a_queue_that_somebody_else_deleted_is_gone(
    turns: TakeTurns, channel: BlockingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue deleted by hand at the last moment counts as removed."""
    turns.publisher.ensure("acme")
    reaper = Reaper(turns)
    meanwhile(
        monkeypatch,
        reaper,
        "_management.delete_queue",
        before=lambda: channel.queue_delete(queue_name("acme")),
    )
    assert reaper.run_once().removed == ("acme",)
    assert turns.registry.activity() == {}
