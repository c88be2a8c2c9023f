"""What a purge tells of the tasks that it throws away, and what is left of one that is cut off."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from amqp import Message

from support.outages import without_redis
from support.proxy import running
from support.publishing import shop_for
from support.workers import environment, worker
from taketurns.errors import RegistryUnavailable
from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from support.workers import Ledger
    from taketurns.progress import Step
    from taketurns.records.record import TaskRecord
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

QUEUE = queue_name("acme")

CUT_OFF = """
import os, signal
from support.shop import turns
from taketurns.taking import Taker

acknowledge, calls = Taker.acknowledge, []

def cut_off(self):
    calls.append(self)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return acknowledge(self)

Taker.acknowledge = cut_off
turns.purge("acme")
"""
"""A purge that dies when it has told of its fourth 250 tasks, before it acknowledges these."""


def submit_many(shop: Any, count: int) -> list[str]:
    """Submit so many tasks of acme's, labelled by number, and return their ids."""
    wanted: list[Any] = [(shop.work, (str(number),), {}, {}) for number in range(count)]
    return [each.task_id for each in shop.turns.submit_many("acme", wanted)]


def ready(amqp: BlockingChannel) -> int:
    return int(amqp.queue_declare(QUEUE, passive=True).method.message_count)


def record(shop: Any, task_id: str) -> TaskRecord:
    found: TaskRecord = shop.turns.tasks.get("acme", task_id)
    assert found is not None
    return found


def told(shop: Any, ids: list[str]) -> set[str]:
    """Return the labels of those that are cancelled."""
    return {str(number) for number, each in enumerate(ids) if record(shop, each).stored == "CANCELLED"}


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_everybody_is_told_of_a_task_that_is_purged(
    queue_type: str, settings: Settings, amqp: BlockingChannel
) -> None:
    """Its record, its events, Celery's result, and what depends on it; its idempotency key stays its own."""
    broker = settings.broker.model_copy(update={"queue_type": queue_type})
    with shop_for(replace(settings, broker=broker)) as shop:
        purged = shop.work.apply_async(("a",), tenant="acme", idempotency_key="k")
        child = shop.work.apply_async(("b",), tenant="acme", depends_on=[purged.id])
        unrecorded = shop.unrecorded.apply_async(("c",), tenant="acme")
        before = time.time()
        steps: list[Step] = []
        assert shop.turns.purge("acme", progress=steps.append).purged == 2
        assert [(step.passed, step.total) for step in steps] == [(0, 2), (2, 2)]
        assert ready(amqp) == 0
        found = record(shop, purged.id)
        assert (found.stored, found.error) == ("CANCELLED", ("purged", "its tenant was purged"))
        assert found.ended_at is not None
        assert before - 1 < found.ended_at < time.time() + 1
        *_, last = shop.turns.tasks.follow("acme", purged.id, timeout=10)
        assert (last.kind, last.data["error"]) == ("cancelled", "purged")
        assert record(shop, child.id).error == (
            "DependencyFailed",
            f"it depends on task {purged.id}, which was cancelled",
        )
        for result in (purged, unrecorded):
            assert shop.work.AsyncResult(result.id).state == "REVOKED"
        assert shop.work.AsyncResult(child.id).state == "FAILURE"
        again = shop.work.apply_async(("a",), tenant="acme", idempotency_key="k")
        assert (again.id, ready(amqp)) == (purged.id, 0)
        assert not shop.turns.registry.cancellations.has(purged.id)


def test_what_a_removal_throws_away_is_told_too(shop: Any) -> None:
    (purged,) = submit_many(shop, 1)
    child = shop.work.apply_async(("b",), tenant="acme", depends_on=[purged])
    assert shop.turns.remove("acme", force=True) == 1
    found = record(shop, purged)
    assert (found.stored, found.error) == ("CANCELLED", ("purged", "its tenant was removed"))
    assert shop.work.AsyncResult(purged).state == "REVOKED"
    assert record(shop, child.id).stored == "FAILURE"


def test_what_is_no_task_is_purged_as_well(shop: Any, amqp: BlockingChannel, eventually: Eventually) -> None:
    """Also a task whose type this app does not know: its record says so, too."""
    ids = submit_many(shop, 2)
    headers = {"task": "nobody.knows", "id": "strange", "taketurns_tenant": "acme"}
    strangers = (
        Message(b""),
        Message(b"\xff\x00", application_headers={"task": "support.shop.work", "id": "odd"}),
        Message(b"{", content_type="application/json", content_encoding="utf-8"),
        Message(b"x" * 5_000_000),
        Message(
            b"[[], {}, {}]",
            application_headers=headers,
            content_type="application/json",
            content_encoding="utf-8",
        ),
    )
    with shop.app.connection_for_write() as connection:
        for stranger in strangers:
            connection.default_channel.basic_publish(stranger, exchange="", routing_key=QUEUE)
        eventually(lambda: ready(amqp) == 7)
    assert shop.turns.purge("acme").purged == 7
    assert ready(amqp) == 0
    assert told(shop, ids) == {"0", "1"}
    assert shop.work.AsyncResult("strange").state == "REVOKED"


def test_a_purge_that_is_killed_leaves_each_task_told_or_waiting(
    shop: Any,
    settings: Settings,
    ledger: Ledger,
    amqp: BlockingChannel,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """A worker that comes then runs those that wait, once each, and none that was told to be cancelled."""
    ids = submit_many(shop, 1500)
    process = subprocess.run(
        [sys.executable, "-c", CUT_OFF],
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    gone = told(shop, ids)
    assert len(gone) == 1000
    eventually(lambda: ready(amqp) >= 750)  # what was told and not acknowledged is there again
    with worker(settings, tmp_path, "-P", "threads", "-c", "2"):
        eventually(lambda: len(ledger) == 500 and ready(amqp) == 0, within=90)
        last = shop.work.apply_async(("last",), tenant="acme")
        eventually(lambda: record(shop, last.id).stored == "SUCCESS", within=30)
    waited = {str(number) for number in range(1500)} - gone
    assert sorted(ledger.labels()) == sorted([*waited, "last"])
    assert told(shop, ids) == gone


def test_without_redis_nothing_is_purged(shop: Any, settings: Settings, amqp: BlockingChannel) -> None:
    ids = submit_many(shop, 10)
    with shop_for(without_redis(settings, "127.0.0.1:1")) as away:
        with pytest.raises(RegistryUnavailable):
            away.turns.purge("acme")
        assert (ready(amqp), told(shop, ids)) == (10, set())


def test_what_redis_was_not_told_is_in_its_queue_again(
    shop: Any, settings: Settings, amqp: BlockingChannel
) -> None:
    """When it goes away in the middle; the next purge goes on."""
    ids = submit_many(shop, 600)
    with running(settings.redis.redis_url) as proxy:
        redis = settings.redis.model_copy(update={"redis_url": proxy.url})
        with shop_for(replace(settings, redis=redis)) as own, pytest.raises(RegistryUnavailable):
            own.turns.purge("acme", progress=lambda step: proxy.refuse() if step.passed else None)
        assert (ready(amqp), len(told(shop, ids))) == (350, 250)
    shop.turns.registry.unmark_draining(["acme"])  # which nobody could do without Redis
    assert shop.turns.purge("acme").purged == 350
    assert len(told(shop, ids)) == 600
