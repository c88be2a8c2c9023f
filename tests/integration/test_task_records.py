"""What workers tell of the tasks that they run, and cancelling tasks."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery.utils import uuid

from support.workers import worker
from taketurns.api.results import state_now
from taketurns.deadletters.selection import Selection
from taketurns.tenant_tasks import Chosen, total
from taketurns.worker.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pika import BasicProperties
    from pika.adapters.blocking_connection import BlockingChannel

    from support.workers import Ledger
    from taketurns.api.schemas.tasks import TaskState
    from taketurns.records.lifecycle import Kind
    from taketurns.settings import Settings

    Eventually = Callable[..., None]


def steps(shop: Any, task_id: str, tenant: str = "acme") -> list[str]:
    return [event["event"] for _, event in shop.turns.records.history(tenant, task_id)]


def state(shop: Any, task_id: str, tenant: str = "acme") -> str:
    record = shop.turns.tasks.get(tenant, task_id)
    return "" if record is None else str(shop.turns.tasks.state(record))


def seen(shop: Any, task_id: str) -> TaskState:
    return state_now(shop.turns.tasks.get("acme", task_id), shop.turns)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_record_tells_how_each_task_has_gone(
    pool: str,
    shop: Any,
    settings: Settings,
    tmp_path: Path,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = shop.work.apply_async(("good",), tenant="acme", priority="high", tags=["a"]).id
    bad = shop.fail.apply_async(("bad",), tenant="acme").id
    with monkeypatch.context() as patch:  # a publisher with other code than the worker
        patch.setattr(shop.work, "typing", False)
        wrong = shop.work.apply_async((1, 2, 3, 4), tenant="acme").id
    late = shop.work.apply_async(("late",), tenant="acme", expires=0.05).id
    too_late_at = time.time() + 0.05
    counted = shop.count.apply_async((3,), tenant="acme").id
    retried = shop.insist.apply_async(
        ("x",), tenant="acme", max_retries=1, retry_backoff=0.1, retry_jitter=False
    ).id
    silent = shop.unrecorded.apply_async(tenant="acme").id
    assert state(shop, good) == "QUEUED"
    eventually(lambda: time.time() > too_late_at)
    with worker(settings, tmp_path, "-P", pool, "-c", "2", name="w1"):
        eventually(lambda: state(shop, retried) == "FAILURE", within=20)
        eventually(lambda: {state(shop, each) for each in (good, counted)} == {"SUCCESS"})
        eventually(lambda: (state(shop, bad), state(shop, late)) == ("FAILURE", "EXPIRED"))
        eventually(lambda: state(shop, wrong) == "DEAD")
    assert steps(shop, good) == ["queued", "started", "completed"]
    counting = steps(
        shop, counted
    )  # the process tells its progress itself, perhaps before the worker tells its start
    assert sorted(counting[1:-1]) == ["progress", "started"]
    assert (counting[0], counting[-1]) == ("queued", "completed")
    assert steps(shop, retried) == ["queued", "started", "retrying", "started", "failed"]
    assert steps(shop, late) == ["queued", "expired"]
    assert shop.turns.tasks.get("acme", silent) is None
    record = shop.turns.tasks.get("acme", good)
    assert (record.priority, record.tags, record.attempts) == ("high", ("a",), 1)
    assert record.worker.startswith("w1@")
    assert record.submitted_at < record.started_at <= record.ended_at
    assert shop.turns.tasks.get("acme", bad).error[0] == "ValueError"
    assert shop.turns.tasks.get("acme", retried).attempts == 2
    assert shop.turns.tasks.get("acme", counted).progress.done == 3


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_no_text_that_a_task_raises_keeps_others_from_being_recorded(
    pool: str, shop: Any, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """JSON brings half a surrogate pair as an argument, and UTF-8 can't carry it."""
    odd = shop.fail.apply_async(("\ud800",), tenant="acme").id
    after = shop.work.apply_async(("after",), tenant="bolt").id
    with worker(settings, tmp_path, "-P", pool, "-c", "1") as running:
        eventually(lambda: state(shop, odd) == "FAILURE", within=20)
        eventually(lambda: state(shop, after, "bolt") == "SUCCESS")
    assert shop.turns.tasks.get("acme", odd).error == ("ValueError", "no ?")
    assert "Redis is away" not in running.output


def test_a_replayed_task_begins_anew(
    shop: Any, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    failed = shop.fail.apply_async(("x",), tenant="acme").id
    with worker(settings, tmp_path, "-c", "1"):
        eventually(lambda: state(shop, failed) == "FAILURE", within=20)
        shop.turns.dead_letters.replay(Selection(tenant="acme"))
        eventually(lambda: steps(shop, failed).count("failed") == 2)
    assert steps(shop, failed) == ["queued", "started", "failed", "queued", "started", "failed"]
    assert shop.turns.tasks.get("acme", failed).attempts == 2


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_message_that_comes_back_runs_unless_its_attempt_is_over(
    pool: str,
    shop: Any,
    ledger: Ledger,
    settings: Settings,
    amqp: BlockingChannel,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """By its record, which is newer than the message; what nobody knows better runs again."""
    ends: dict[str, Kind] = {"good": "completed", "bad": "failed", "again": "retrying", "left": "ignored"}
    for label in (*ends, "begun", "unknown"):
        shop.work.apply_async((label,), tenant="acme")
    once = shop.work.apply_async(("once",), tenant="acme").id
    shop.work.apply_async(("same id",), tenant="acme", task_id=once)
    taken = _give_back(shop, amqp, {**ends, "once": "completed", "moved": "failed"}, begun=["begun"])
    properties, _ = taken["unknown"]
    letter = {**(properties.headers or {}), "id": uuid(), "taketurns_dead_id": uuid()}
    moved = json.dumps([["moved"], {}, {}]).encode()
    properties.headers = letter
    amqp.basic_publish("", "usersequence_acme", moved, properties)
    _give_back(shop, amqp, {"moved": "failed"})
    late = shop.work.apply_async(("after",), tenant="acme").id
    with worker(settings, tmp_path, "-P", pool, "-c", "1"):
        eventually(lambda: state(shop, late) == "SUCCESS", within=20)
        eventually(lambda: shop.turns.publisher.waiting("usersequence_acme") == 0)
    assert sorted(ledger.labels()) == ["after", "begun", "moved", "same id", "unknown"]


def test_what_a_delay_queue_lets_go_again_does_not_run_again(
    shop: Any,
    ledger: Ledger,
    settings: Settings,
    amqp: BlockingChannel,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """A level that the broker was killed with has the message still, and RabbitMQ calls it no redelivery."""
    task = shop.work.apply_async(("x",), tenant="acme", countdown=0.1).id
    eventually(lambda: shop.turns.publisher.waiting("usersequence_acme") == 1)
    _, properties, body = amqp.basic_get("usersequence_acme", auto_ack=True)
    headers = {name: value for name, value in properties.headers.items() if "death" not in name}
    headers["taketurns_eta"] = (datetime.now(UTC) - timedelta(seconds=9)).isoformat()
    properties.headers = headers
    with worker(settings, tmp_path, "-c", "1") as running:
        for _ in range(2):
            amqp.basic_publish("usersequence.delay.100", "usersequence_acme", body, properties)
            eventually(lambda: state(shop, task) == "SUCCESS", within=20)
        eventually(lambda: f"[{task}] came back and is not run again: it is SUCCESS" in running.output)
        eventually(lambda: shop.turns.publisher.waiting("usersequence_acme") == 0)
    assert ledger.labels() == ["x"]


def test_a_retry_is_of_the_same_submission_and_what_it_leaves_is_over(
    shop: Any,
    ledger: Ledger,
    settings: Settings,
    amqp: BlockingChannel,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """The first attempt's message comes back beside that of the second, and after it."""
    task = shop.flaky.apply_async(("x",), tenant="acme").id
    _, properties, body = amqp.basic_get("usersequence_acme")
    amqp.basic_nack(0, multiple=True)
    with worker(settings, tmp_path, "-c", "1"):
        eventually(lambda: state(shop, task) == "SUCCESS", within=20)
    amqp.basic_publish("", "usersequence_acme", body, properties)
    _give_back(shop, amqp, {})
    late = shop.work.apply_async(("after",), tenant="acme").id
    with worker(settings, tmp_path, "-c", "1"):
        eventually(lambda: state(shop, late) == "SUCCESS", within=20)
    assert ledger.labels() == ["x-0", "x-1", "after"]


def test_a_parent_that_comes_back_lets_go_of_what_waits_for_it(
    shop: Any,
    ledger: Ledger,
    settings: Settings,
    amqp: BlockingChannel,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """Its worker had written down that it has succeeded, and was killed before anybody was told."""
    parent = shop.work.apply_async(("parent",), tenant="acme").id
    shop.work.apply_async(("child",), tenant="acme", depends_on=[parent])
    _give_back(shop, amqp, {"parent": "completed"})
    with worker(settings, tmp_path, "-c", "1") as running:
        eventually(lambda: ledger.labels() == ["child"], within=20)
        assert f"[{parent}] came back and is not run again: it is SUCCESS" in running.output


def _give_back(
    shop: Any, amqp: BlockingChannel, ends: Mapping[str, Kind], begun: Sequence[str] = ()
) -> dict[str, tuple[BasicProperties, bytes]]:
    """Take all messages of acme's, record what became of some by their labels, and give them back."""
    taken: dict[str, tuple[BasicProperties, bytes]] = {}
    journal = Journal(shop.turns.records, "w0")
    while True:
        method, properties, body = amqp.basic_get("usersequence_acme")
        if method is None:
            break
        label = json.loads(body)[0][0]
        taken[label] = properties, body
        if label in ends or label in begun:
            journal.tell("acme", properties.headers, "started")
        if label in ends:
            journal.tell("acme", properties.headers, ends[label], error="", message="")
    journal.close()
    amqp.basic_nack(0, multiple=True)
    return taken


def test_what_is_cancelled_while_it_waits_never_runs(
    shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """Cancelled before any worker was there, for later, and twice: the messages come, and nothing starts."""
    doomed = [shop.work.apply_async((f"d{number}",), tenant="acme", tags=["d"]).id for number in range(20)]
    delayed = shop.work.apply_async(("later",), tenant="acme", countdown=1).id
    kept = shop.work.apply_async(("kept",), tenant="acme").id
    others = shop.work.apply_async(("bolt",), tenant="bolt").id
    outcome = total(shop.turns.tasks.cancel_all("acme", Chosen(tag="d")))
    assert sorted(outcome.cancelled) == sorted(doomed)
    assert shop.turns.tasks.cancel("acme", [*doomed, delayed, others]).cancelled == (delayed,)
    assert {state(shop, each) for each in (*doomed, delayed)} == {"CANCELLED"}
    with worker(settings, tmp_path, "-c", "2"):
        eventually(lambda: state(shop, kept) == "SUCCESS", within=20)
        eventually(lambda: state(shop, others, "bolt") == "SUCCESS")
        eventually(lambda: shop.turns.publisher.waiting("usersequence_acme") == 0)
        eventually(lambda: shop.turns.registry.cancellations.since(0.0)[0] == [], within=30)
        assert shop.work.AsyncResult(delayed).state == "REVOKED"
    assert sorted(ledger.labels()) == ["bolt", "kept"]
    assert steps(shop, doomed[0]) == ["queued", "cancelled"]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_runs_is_ended_on_request_and_otherwise_goes_on(
    pool: str, shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    with worker(settings, tmp_path, "-P", pool, "-c", "2"):
        short = shop.begin.apply_async(("short", 2.0), tenant="acme").id
        long = shop.begin.apply_async(("long", 4.0 if pool == "threads" else 60.0), tenant="acme").id
        eventually(lambda: {state(shop, each) for each in (short, long)} == {"RUNNING"}, within=20)
        assert not seen(shop, short).cancelling
        assert shop.turns.tasks.cancel("acme", [short]).running == (short,)
        assert (seen(shop, short).status, seen(shop, short).cancelling) == ("RUNNING", True)
        outcome = shop.turns.tasks.cancel("acme", [long], terminate=True)
        assert outcome.running == (long,)
        assert outcome.terminated == ((long,) if pool == "prefork" else ())
        eventually(lambda: state(shop, short) == "SUCCESS", within=10)
        assert not seen(shop, short).cancelling
        eventually(lambda: state(shop, long) == ("CANCELLED" if pool == "prefork" else "SUCCESS"))
        after = shop.work.apply_async(("after",), tenant="acme").id
        eventually(lambda: state(shop, after) == "SUCCESS")
    assert "short" in ledger.labels()


def test_a_cancelled_task_is_not_tried_again(
    shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    with worker(settings, tmp_path, "-c", "1"):
        backoff = {"retry_backoff": 8.0, "retry_backoff_max": 8.0, "retry_jitter": False}
        again = shop.insist.apply_async(("again",), tenant="acme", max_retries=9, **backoff).id
        eventually(lambda: state(shop, again) == "RETRYING", within=20)
        # As long as its first run is not acknowledged it counts as running.
        eventually(lambda: shop.turns.tasks.cancel("acme", [again]).cancelled == (again,))
        assert state(shop, again) == "CANCELLED"
        eventually(lambda: shop.turns.registry.cancellations.since(0.0)[0] == [], within=30)
        assert state(shop, again) == "CANCELLED"
    assert ledger.labels() == ["again"]


def test_a_signal_to_all_of_a_workers_processes_ends_it_and_loses_nothing(
    shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """As ``timeout`` and systemd send it: the pool's processes end in the middle of their tasks."""
    with worker(settings, tmp_path, "-P", "prefork", "-c", "2") as ended:
        running = [shop.begin.apply_async((label, 5.0), tenant="acme").id for label in ("a", "b")]
        eventually(lambda: {state(shop, each) for each in running} == {"RUNNING"}, within=20)
        for process in (ended.process.pid, *ended.pool()):
            os.kill(process, signal.SIGTERM)
        assert ended.process.wait(30) == 0
        assert ledger.labels() == []
    with worker(settings, tmp_path, "-P", "threads", "-c", "2", name="w2"):
        eventually(lambda: {state(shop, each) for each in running} == {"SUCCESS"}, within=40)
    assert sorted(ledger.labels()) == ["a", "b"]


def test_a_process_that_ends_after_the_stop_began_is_not_waited_for(
    shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """Also while another one lives: here the one that came for the first to be ended."""
    with worker(settings, tmp_path, "-P", "prefork", "-c", "2") as ended:
        running = [shop.begin.apply_async((label, 4.0), tenant="acme").id for label in ("a", "b")]
        eventually(lambda: {state(shop, each) for each in running} == {"RUNNING"}, within=20)
        first, second = ended.pool()
        os.kill(first, signal.SIGTERM)
        eventually(lambda: len({*ended.pool()} - {first}) == 2)
        ended.process.send_signal(signal.SIGTERM)
        eventually(lambda: "another signal stops now" in ended.output)
        os.kill(second, signal.SIGTERM)
        assert ended.process.wait(30) == 0
    with worker(settings, tmp_path, "-P", "threads", "-c", "2", name="w2"):
        eventually(lambda: {state(shop, each) for each in running} == {"SUCCESS"}, within=40)
    assert sorted(ledger.labels()) == ["a", "b"]
