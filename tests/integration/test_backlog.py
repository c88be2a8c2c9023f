"""Backlog caps on a real broker: what is refused, what never is, and that nothing is left to be repaired."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord
from celery._state import _task_stack
from celery.exceptions import Ignore, Retry

from support import proxy
from support.canvas import rows
from support.outages import without_redis
from support.publishing import installed
from support.workers import worker
from taketurns import BacklogFull, TakeTurns, TenantTask
from taketurns.running import run_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery
    from pika.adapters.blocking_connection import BlockingChannel

    from taketurns.settings import Settings

    Eventually = Callable[..., None]

QUEUE = "usersequence_acme"


def waiting(amqp: BlockingChannel, queue: str = QUEUE) -> int:
    return int(amqp.queue_declare(queue, passive=True).method.message_count)


def submit_until_full(task: Any, tenant: str = "acme", most: int = 100) -> int:
    """Submit until a task is refused, and return how many were accepted."""
    for accepted in range(most):
        try:
            task.apply_async(("a",), tenant=tenant)
        except BacklogFull:
            return accepted
    pytest.fail(f"{most} tasks were accepted")


def test_what_is_above_the_cap_is_refused(turns: TakeTurns, work: Any, amqp: BlockingChannel) -> None:
    """The error tells all; nothing was submitted, and other tenants are not concerned."""
    turns.registry.update("acme", max_backlog=3, rate_limit="10/1s")
    assert submit_until_full(work) == 3
    with pytest.raises(BacklogFull) as caught:
        work.apply_async(("a",), tenant="acme")
    error = caught.value
    assert (error.tenant, error.backlog, error.max_backlog) == ("acme", 3, 3)
    assert error.retry_after == pytest.approx(0.1)
    assert waiting(amqp) == 3
    work.apply_async(("a",), tenant="other")
    assert waiting(amqp, "usersequence_other") == 1


def test_each_task_that_leaves_makes_room(turns: TakeTurns, work: Any, amqp: BlockingChannel) -> None:
    """By whatever way: taken by a client that knows nothing of us, or purged by hand."""
    turns.registry.update("acme", max_backlog=3)
    assert submit_until_full(work) == 3
    amqp.basic_get(QUEUE, auto_ack=True)
    assert submit_until_full(work) == 1
    amqp.queue_purge(QUEUE)
    assert submit_until_full(work) == 3


def test_it_heals_when_the_tasks_have_run(
    settings: Settings, tmp_path: Path, app: Celery, eventually: Eventually
) -> None:
    """As many are accepted again after workers ran those that waited."""
    TakeTurns.of(app).registry.update("acme", max_backlog=5)
    assert submit_until_full(app.tasks["note"]) == 5
    with worker(settings, tmp_path, "-P", "threads", "-c", "2", app="support.canvas_worker"):
        eventually(lambda: len(rows(settings)) == 5, within=20)
    assert submit_until_full(app.tasks["note"]) == 5


def test_publishers_at_the_same_moment_exceed_it_by_one_each(
    turns: TakeTurns, work: Any, amqp: BlockingChannel
) -> None:
    """Four threads that submit as fast as they can leave at most four tasks too many."""
    turns.registry.update("acme", max_backlog=20)
    start = threading.Barrier(4)

    def publish() -> int:
        start.wait()
        return submit_until_full(work)

    with ThreadPoolExecutor(4) as threads:
        accepted = sum(each.result() for each in [threads.submit(publish) for _ in range(4)])
    assert 20 <= accepted <= 24
    assert waiting(amqp) == accepted


def test_a_changed_cap_applies_within_a_second(turns: TakeTurns, work: Any, eventually: Eventually) -> None:
    """Raised, lowered, or taken away: also in a process that knew another one."""
    turns.registry.update("acme", max_backlog=1)
    assert submit_until_full(work) == 1
    turns.registry.update("acme", max_backlog=3)
    eventually(lambda: submit_until_full(work) == 2, within=5)
    turns.registry.update("acme", max_backlog=None)
    eventually(lambda: accepts(work), within=5)


def accepts(task: Any) -> bool:
    try:
        task.apply_async(("a",), tenant="acme")
    except BacklogFull:
        return False
    return True


def test_a_default_is_everybodys_cap(settings: Settings) -> None:
    """A tenant without a cap of its own has the default."""
    limiter = settings.limiter.model_copy(update={"default_max_backlog": 2})
    with installed(replace(settings, limiter=limiter)) as turns:
        task = task_of(turns)
        turns.registry.update("more", max_backlog=4)
        assert submit_until_full(task) == 2
        assert submit_until_full(task, tenant="more") == 4


def task_of(turns: TakeTurns) -> Any:
    @turns.app.task(base=TenantTask, name="work", shared=False)
    def work(label: str) -> str:
        return label

    return work


def test_a_queue_that_is_gone_counts_as_empty(turns: TakeTurns, work: Any, amqp: BlockingChannel) -> None:
    """Whoever removed it: the task goes the way of the lost ones, and confirms count afterwards as before."""
    turns.registry.update("acme", max_backlog=1)
    assert submit_until_full(work) == 1
    amqp.queue_delete(QUEUE)
    for lost in (1, 2, 3):
        work.apply_async(("a",), tenant="acme")
        assert waiting(amqp, "usersequence.lost") == lost
    work.apply_async(("a",), tenant="other")
    assert waiting(amqp, "usersequence_other") == 1


def test_what_is_delayed_counts_when_it_is_due(
    turns: TakeTurns, work: Any, amqp: BlockingChannel, eventually: Eventually
) -> None:
    """Until then it makes nothing full; but when it is full, delayed tasks are refused as well."""
    turns.registry.update("acme", max_backlog=1)
    work.apply_async(("later",), tenant="acme", countdown=0.5)
    work.apply_async(("at once",), tenant="acme")
    with pytest.raises(BacklogFull):
        work.apply_async(("later",), tenant="acme", countdown=0.5)
    eventually(lambda: waiting(amqp) == 2)


def test_without_redis_there_is_no_cap(settings: Settings, nowhere: str, amqp: BlockingChannel) -> None:
    """A process that could never read it accepts everything."""
    limiter = settings.limiter.model_copy(update={"default_max_backlog": 1})
    with installed(replace(without_redis(settings, nowhere), limiter=limiter)) as turns:
        task = task_of(turns)
        for _ in range(3):
            task.apply_async(("a",), tenant="acme")
    assert waiting(amqp) == 3


def test_when_redis_goes_the_last_known_cap_holds(settings: Settings, eventually: Eventually) -> None:
    """It is asked for again and again, and what was read last goes on applying."""
    with proxy.running(settings.redis.redis_url) as between:
        own = replace(settings, redis=settings.redis.model_copy(update={"redis_url": between.url}))
        with installed(own) as turns, installed(settings) as elsewhere:
            turns.registry.update("acme", max_backlog=2)
            task = task_of(turns)
            assert submit_until_full(task) == 2
            between.silence()
            elsewhere.registry.update("acme", max_backlog=3)

            def asked_in_vain() -> bool:
                assert submit_until_full(task) == 0
                return between.held > 0

            eventually(asked_in_vain, what="Redis was asked again")
            assert submit_until_full(task) == 0
            between.drop()
            eventually(lambda: submit_until_full(task) == 1, within=10)


@pytest.fixture
def full(app: Celery) -> Celery:
    """The app; its tenant acme is paused, and as many of its tasks wait as may: one."""
    TakeTurns.of(app).registry.update("acme", max_backlog=1, paused=True)
    assert submit_until_full(app.tasks["note"]) == 1
    return app


def test_what_was_accepted_before_goes_on(
    settings: Settings, tmp_path: Path, full: Celery, amqp: BlockingChannel, eventually: Eventually
) -> None:
    """What comes after a task is sent into the full queue all the same; a task's own child is refused."""
    note, fail, plain, collect, mourn = (
        full.tasks[name] for name in ("note", "fail", "plain", "collect", "mourn")
    )
    acme, other = {"tenant": "acme"}, {"tenant": "other"}
    header = [note.s("x").set(**other), note.s("x").set(**other)]
    end = chain(collect.s("chain").set(**acme), note.si("end").set(**acme))
    with worker(settings, tmp_path, "-P", "threads", "-c", "2", app="support.canvas_worker"):
        chain(note.s("x").set(**other), note.s("chained").set(**acme)).apply_async()
        chain(plain.s("x"), note.s("chained to an ordinary one").set(**acme)).apply_async()
        note.apply_async(("x",), **other, link=note.si("linked").set(**acme))
        plain.apply_async(("x",), link=note.si("linked to an ordinary one").set(**acme))
        fail.apply_async(("x",), **other, link_error=mourn.s().set(**acme))
        chord(header, collect.s("body").set(**acme)).apply_async()
        chord([plain.s("x"), plain.s("x")], collect.s("body of ordinary ones").set(**acme)).apply_async()
        chord(header, end).apply_async()
        full.tasks["replace_me"].apply_async(("replacement", "acme"), **other)
        eventually(lambda: waiting(amqp) == 10, within=20, what="all nine have come")
        with pytest.raises(BacklogFull):
            full.tasks["spawn"].apply_async(("child", "acme"), **other).get(timeout=20)
        TakeTurns.of(full).registry.update("acme", paused=False)
        eventually(lambda: "end" in {row["label"] for row in rows(settings)}, within=20)
        ran = sorted(row["label"] for row in rows(settings) if row["tenant"] == "acme")
    ordinary = ["chained to an ordinary one", "linked to an ordinary one", "body of ordinary ones"]
    others = ["chained", "linked", "errback", "body", "chain", "end", "replacement"]
    assert ran == sorted(["a", *ordinary, *others])


def test_a_retry_is_not_refused(full: Celery, amqp: BlockingChannel) -> None:
    """However full the queue is, the task goes back into it."""
    with running(full.tasks["twice"]) as twice, pytest.raises(Retry):
        twice.retry(countdown=0)
    assert waiting(amqp) == 2


def test_a_throttled_task_of_a_stock_worker_is_not_refused(
    full: Celery, amqp: BlockingChannel, eventually: Eventually
) -> None:
    """It was only put off, and comes back into the full queue."""
    TakeTurns.of(full).registry.update("acme", task_rate_limits={"limited": "1/4s"})
    full.tasks["limited"].apply(("takes the token",), tenant="acme")
    with running(full.tasks["limited"]) as limited, pytest.raises(Ignore, match="put off"):
        run_body(limited, limited.request, ("a",), {})
    eventually(lambda: waiting(amqp) == 2)


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_a_chords_body_is_not_refused_to_the_task_that_waits_for_its_header(
    full: Celery, amqp: BlockingChannel
) -> None:
    """Celery's chord_unlock, of result backends that can't count, submits it from a body of its own."""
    full.backend.store_result("header", "a", "SUCCESS")
    body = full.tasks["collect"].s("body").set(tenant="acme")
    with running(full.tasks["celery.chord_unlock"]) as unlock:
        unlock.run("group", body, result=[(("header", None), None)])
    assert waiting(amqp) == 2


@contextmanager
def running(task: Any) -> Iterator[Any]:
    """Have a task of acme run in this thread, as a worker would."""
    delivery = {"exchange": "usersequence", "routing_key": QUEUE, "redelivered": False, "priority": 1}
    _task_stack.push(task)
    task.push_request(
        id="1",
        args=["a"],
        kwargs={},
        headers={"taketurns_tenant": "acme"},
        delivery_info=delivery,
        called_directly=False,
    )
    try:
        yield task
    finally:
        task.pop_request()
        _task_stack.pop()
