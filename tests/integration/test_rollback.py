"""The way back: backlogs of tenant queues in the old queue, run there by workers that know of no tenants."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from support.letters import bury
from support.workers import worker
from taketurns import TakeTurns
from taketurns.errors import InvalidInput, InvalidTenant, NoSuchQueue, StillInCanary
from taketurns.migration.rollback import Backlog, backlog, roll_back
from taketurns.topology import EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celery import Celery
    from pika.adapters.blocking_connection import BlockingChannel

    from support.workers import Ledger
    from taketurns.progress import Step
    from taketurns.settings import Settings

    Eventually = Callable[..., None]


def nobody(turns: TakeTurns) -> None:
    """Take everybody out of the canary."""
    turns.canary.set(percent=0, tenants=())


@pytest.fixture
def turns(app: Celery, amqp: BlockingChannel) -> TakeTurns:
    """The extension of support.canvas's app, whose old queues exist and are empty."""
    amqp.queue_declare("ordinary", durable=True)
    amqp.queue_declare("elsewhere", durable=True)
    return TakeTurns.of(app)


def submit(turns: TakeTurns, tenant: str, *labels: str, task: str = "fail", **options: Any) -> None:
    for label in labels:
        turns.app.tasks[task].apply_async((label,), tenant=tenant, **options)


def taken(amqp: BlockingChannel, queue: str) -> list[str]:
    """Empty a queue, and return the first argument of each message."""
    labels = []
    while (found := amqp.basic_get(queue, auto_ack=True))[0] is not None:
        labels.append(json.loads(found[2] or b"")[0][0])
    return labels


def test_an_old_worker_runs_what_was_waiting_or_delayed(
    shop: Any,
    settings: Settings,
    ledger: Ledger,
    amqp: BlockingChannel,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """Each once; a delayed one when it is due, and retries and chords go on."""
    amqp.queue_declare("ordinary", durable=True)
    for tenant in ("acme", "bolt"):
        for number in range(5):
            shop.work.apply_async((f"{tenant}-{number}",), tenant=tenant, priority=number % 3)
        shop.flaky.for_tenant(tenant).delay(f"{tenant}-flaky")
        shop.work.apply_async((f"{tenant}-later",), tenant=tenant, countdown=8)
    result = shop.total("acme").delay()
    nobody(shop.turns)
    assert backlog(shop.turns).total == 16
    done = roll_back(shop.turns)
    assert (done.waiting, done.delayed) == ({"acme": 8, "bolt": 6}, {"acme": 1, "bolt": 1})
    assert done.left == Backlog({}, 0, 0, 0)
    options = ("-P", "threads", "-c", "2")
    with worker(settings, tmp_path, *options, name="old", app="support.old_shop", serves=False):
        expected = [f"{tenant}-{number}" for tenant in ("acme", "bolt") for number in range(5)]
        expected += [f"{tenant}-flaky-{number}" for tenant in ("acme", "bolt") for number in range(2)]
        eventually(lambda: len(ledger) >= len(expected), within=20)
        assert result.get(timeout=20) == 10
        expected += ["acme-later", "bolt-later"]
        eventually(lambda: len(ledger) >= len(expected), within=20)
    assert Counter(ledger.labels()) == Counter(expected)
    assert shop.turns.publisher.waiting("ordinary") == 0


def test_tenants_are_merged_in_turns(turns: TakeTurns, amqp: BlockingChannel) -> None:
    """A large backlog does not come before a small one, and each tenant's tasks keep their order."""
    submit(turns, "acme", *"abcde")
    submit(turns, "bolt", "x", "y")
    nobody(turns)
    steps: list[Step] = []
    roll_back(turns, progress=steps.append)
    assert taken(amqp, "ordinary") == ["a", "x", "b", "y", "c", "d", "e"]
    assert [(step.passed, step.total, step.done) for step in (steps[0], steps[-1])] == [(0, 7, 0), (7, 7, 7)]


def test_each_task_goes_where_it_went_before(turns: TakeTurns, amqp: BlockingChannel) -> None:
    """By the app's task_routes, unless the old queue is named."""
    submit(turns, "acme", "a", task="note")
    submit(turns, "acme", "b")
    nobody(turns)
    roll_back(turns)
    assert (taken(amqp, "elsewhere"), taken(amqp, "ordinary")) == (["a"], ["b"])
    turns.canary.unset()
    submit(turns, "acme", "a", task="note")
    nobody(turns)
    roll_back(turns, queue="ordinary")
    assert taken(amqp, "ordinary") == ["a"]


def test_some_tenants_alone_are_rolled_back(turns: TakeTurns, amqp: BlockingChannel) -> None:
    """The others' queues and the delayed tasks stay as they are."""
    submit(turns, "acme", "a")
    submit(turns, "acme", "later", countdown=600)
    submit(turns, "bolt", "b")
    turns.canary.set(excluded={"acme", "unheard-of"})
    done = roll_back(turns, tenants=["acme", "unheard-of"])
    assert (done.waiting, done.delayed, done.left.total) == ({"acme": 1}, {}, 0)
    assert taken(amqp, "ordinary") == ["a"]
    assert backlog(turns) == Backlog({"bolt": 1}, 1, 0, 0)


def test_dead_letters_stay(turns: TakeTurns) -> None:
    """They wait for somebody's decision."""
    bury(turns, "d-1")
    nobody(turns)
    assert roll_back(turns).total == 0
    assert turns.dead_letters.count() == 1


def test_it_is_refused_while_tasks_still_go_there(turns: TakeTurns) -> None:
    """And nothing is moved; one who is out can be rolled back alone."""
    submit(turns, "acme", "a")
    turns.canary.set(percent=0, tenants=["acme"])
    with pytest.raises(StillInCanary, match="for in the canary: acme; take them out first"):
        roll_back(turns)
    with pytest.raises(StillInCanary, match=": acme;"):
        roll_back(turns, tenants=["acme", "bolt"])
    assert roll_back(turns, tenants=["bolt"]).total == 0
    turns.canary.unset()
    with pytest.raises(StillInCanary, match="every tenant"):
        roll_back(turns)
    assert backlog(turns).waiting == {"acme": 1}


def test_without_the_old_queue_everything_stays(turns: TakeTurns, amqp: BlockingChannel) -> None:
    """Whether it is named, or where the app's routes lead."""
    submit(turns, "acme", "a", "b")
    nobody(turns)
    amqp.queue_delete("ordinary")
    for queue, missing in ((None, "ordinary"), ("old", "old")):
        with pytest.raises(NoSuchQueue, match=f"there is no queue '{missing}'"):
            roll_back(turns, queue=queue)
        assert backlog(turns).waiting == {"acme": 2}
    with pytest.raises(InvalidInput, match="queue: 'usersequence_acme' is not valid"):
        roll_back(turns, queue="usersequence_acme")
    with pytest.raises(InvalidTenant):
        roll_back(turns, tenants=["a b"])


def test_what_goes_on_arriving_is_told(turns: TakeTurns, amqp: BlockingChannel) -> None:
    """A publisher that does not know of the canary keeps the work from ending, but not the command."""
    submit(turns, "acme", "a")
    nobody(turns)
    properties = {"application_headers": {"task": "fail", "id": "1"}, "content_type": "application/json"}

    def another(_: Step) -> None:
        turns.publisher.publish(b'[["b"], {}, {}]', routing_key="usersequence_acme", properties=properties)

    done = roll_back(turns, progress=another)
    assert done.left.waiting["acme"] > 0
    assert len(taken(amqp, "ordinary")) == done.total > 1


def test_what_workers_hold_and_what_is_lost_is_told(turns: TakeTurns, amqp: BlockingChannel) -> None:
    """It can't be moved, but nobody is to think that nothing is left."""
    submit(turns, "acme", "a", "b")
    amqp.basic_get("usersequence_acme")
    turns.publisher.publish(b"[]", routing_key="usersequence_gone", exchange=EXCHANGE, properties={})
    nobody(turns)
    done = roll_back(turns)
    assert (done.waiting, done.left) == ({"acme": 1}, Backlog({}, 0, lost=1, held=1))


def test_nothing_is_lost_or_doubled_when_it_is_stopped(turns: TakeTurns, amqp: BlockingChannel) -> None:
    """Between two tasks; what was not moved is in its place again, delayed ones too."""
    labels = [str(number) for number in range(30)]
    submit(turns, "acme", *labels)
    submit(turns, "acme", "later", "later-2", countdown=600)
    nobody(turns)

    def stop_at(passed: int) -> list[str]:
        def stop(step: Step) -> None:
            if step.passed == passed:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            roll_back(turns, progress=stop)
        return taken(amqp, "ordinary")

    assert stop_at(10) == labels[:10]
    assert stop_at(21) == [*labels[10:], "later"]
    assert backlog(turns) == Backlog({}, 1, 0, 0)
