"""Tasks that depend on others: what runs after what, what fails with what, and that nothing of it is lost."""

from __future__ import annotations

import math
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from celery import chord

from support.redis_keys import lose_keys
from support.workers import worker
from taketurns.deadletters.selection import Selection
from taketurns.dependencies.sweep import Sweep
from taketurns.errors import DependencyFailed, InvalidBatch, InvalidInput
from taketurns.records.lifecycle import Step
from taketurns.tenant_tasks import Chosen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.workers import Ledger
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


def submit(
    shop: Any, label: str, *parents: str, tenant: str = "acme", task: str = "work", **more: Any
) -> str:
    """Submit a task that depends on others, and return its id."""
    found = getattr(shop, task)
    return str(found.apply_async((label,), tenant=tenant, depends_on=list(parents), **more).id)


def state(shop: Any, task_id: str, tenant: str = "acme") -> str:
    record = shop.turns.tasks.get(tenant, task_id)
    return "" if record is None else str(shop.turns.tasks.state(record))


def waiting(shop: Any) -> list[str]:
    """Return the queues of those that wait for others."""
    return list(shop.turns.management.names("usersequence.after."))


def test_tasks_run_after_those_that_they_depend_on(
    shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """A chain of three, a diamond, and one that waits for fifty."""
    a = submit(shop, "a", countdown=0.5)
    b = submit(shop, "b", a, priority="high")
    c = submit(shop, "c", b)
    top = submit(shop, "top", countdown=0.5)
    left, right = submit(shop, "left", top), submit(shop, "right", top)
    bottom = submit(shop, "bottom", left, right)
    many = [submit(shop, f"m{number}") for number in range(50)]
    last = submit(shop, "last", *many)
    assert {state(shop, each) for each in (b, c, left, right, bottom, last)} == {"BLOCKED"}
    assert len(waiting(shop)) == 5
    page = shop.turns.tasks.list("acme", Chosen(states=frozenset({"BLOCKED"})))
    assert [record.id for record, _ in page.tasks] == [last, bottom, right, left, c, b]
    assert page.tasks[0][0].depends_on == tuple(many)
    with worker(settings, tmp_path, "-c", "2"):
        for each in (c, bottom, last):
            eventually(lambda each=each: state(shop, each) == "SUCCESS", within=30)
        eventually(lambda: not waiting(shop))
    labels = ledger.labels()
    assert len(labels) == len(set(labels)) == 58
    for before, after in (("a", "b"), ("b", "c"), ("top", "left"), ("left", "bottom"), ("right", "bottom")):
        assert labels.index(before) < labels.index(after)
    assert labels.index("last") > max(labels.index(f"m{number}") for number in range(50))
    assert shop.turns.tasks.get("acme", b).priority == "high"
    again = shop.work.apply_async(("again",), tenant="acme", depends_on=[c, shop.work.AsyncResult(a)])
    assert not again.blocked
    assert state(shop, again.id) == "QUEUED"


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_what_depends_on_a_task_that_fails_fails_too(
    pool: str, shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    failed = submit(shop, "failed", task="fail")
    late, too_late_at = submit(shop, "late", expires=0.05), time.time() + 0.05
    cancelled = submit(shop, "cancelled", countdown=60)
    rejected = submit(shop, "rejected", task="refuse")
    parents = {failed: "has failed", late: "has expired", cancelled: "was cancelled", rejected: "has failed"}
    children = {parent: submit(shop, "child", parent) for parent in parents}
    grandchild = submit(shop, "grandchild", children[failed])
    eventually(lambda: time.time() > too_late_at)
    shop.turns.tasks.cancel("acme", [cancelled])
    assert state(shop, children[cancelled]) == "FAILURE"  # at once, without a worker
    with worker(settings, tmp_path, "-P", pool, "-c", "1"):
        for each in (*children.values(), grandchild):
            eventually(lambda each=each: state(shop, each) == "FAILURE", within=20)
    for parent, child in children.items():
        error = shop.turns.tasks.get("acme", child).error
        assert error == ("DependencyFailed", f"it depends on task {parent}, which {parents[parent]}")
        result = shop.work.AsyncResult(child)
        assert result.state == "FAILURE"
        assert str(result.result) == error[1]
    assert not {"child", "grandchild"} & set(ledger.labels())
    letters = shop.turns.dead_letters.list(Selection(cause="dependency"))
    assert sorted(each.task_id or "" for each in letters) == sorted([*children.values(), grandchild])
    assert not waiting(shop)
    # One that depends on what has failed already fails at once.
    assert state(shop, submit(shop, "vain", failed)) == "FAILURE"


def test_a_task_that_waits_for_several_fails_with_the_first_that_fails(shop: Any) -> None:
    """Whichever that is, and although it is in the queue of another one, with some that wait on."""
    parents = [submit(shop, f"p{number}", countdown=60) for number in range(4)]
    children = [submit(shop, "child", *parents[:3], countdown=5), submit(shop, "child", *parents[2::-1])]
    patient = submit(shop, "patient", parents[0], parents[3])
    shop.turns.tasks.cancel("acme", [parents[1]])
    assert [state(shop, each) for each in (*children, patient)] == ["FAILURE", "FAILURE", "BLOCKED"]
    shop.turns.tasks.cancel("acme", [parents[3]])
    assert state(shop, patient) == "FAILURE"


def test_tasks_of_a_batch_may_depend_on_others_and_on_those_before_them(
    shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """A chain, one that waits for all others, one that has nothing to wait for and one that can only fail."""
    parent, done, failed = submit(shop, "parent"), submit(shop, "done"), submit(shop, "failed")
    ends = [Step(done, "completed", time.time()), Step(failed, "failed", time.time())]
    shop.turns.records.write({"acme": ends})
    chain: list[Any] = [
        (shop.work, (f"c{place}",), {}, {"task_id": f"c{place}", "depends_on": [f"c{place - 1}"]})
        for place in range(1, 20)
    ]
    told = shop.turns.submit_many(
        "acme",
        [
            *chain,
            (shop.work, ("last",), {}, {"depends_on": [f"c{place}" for place in range(20)] + [parent]}),
            (shop.work, ("free",), {}, {"depends_on": [done]}),
            (shop.work, ("never",), {}, {"depends_on": [failed, parent]}),
            (shop.work, ("c0",), {}, {"task_id": "c0"}),
        ],
    )
    assert [each.error for each in told] == [None] * 23
    assert [state(shop, each.task_id) for each in told] == ["BLOCKED"] * 20 + ["QUEUED", "FAILURE", "QUEUED"]
    assert [each.blocked for each in told] == [True] * 20 + [False, True, False]
    with worker(settings, tmp_path, "-c", "2"):
        eventually(lambda: state(shop, told[19].task_id) == "SUCCESS", within=60)
    labels = ledger.labels()
    assert [each for each in labels if each[0] == "c"] == [f"c{place}" for place in range(20)]
    assert (labels[-1], "free" in labels, "never" in labels) == ("last", True, False)


def test_many_of_a_batch_wait_for_one(shop: Any) -> None:
    parent = submit(shop, "parent")
    told = shop.turns.submit_many(
        "acme", [(shop.work, (str(n),), {}, {"depends_on": [parent]}) for n in range(1500)]
    )
    assert {(each.error, each.blocked) for each in told} == {(None, True)}
    (queue,) = waiting(shop)
    assert shop.turns.publisher.waiting(queue) == 1500


@pytest.mark.parametrize("parents", [["unknown"], ["second"], ["first"], ["other", "third"]])
def test_a_task_of_a_batch_that_can_never_run_keeps_all_from_being_submitted(
    parents: list[str], shop: Any
) -> None:
    """It depends on what nobody knows, on itself or on one after it, which would be a cycle."""
    known = submit(shop, "known")
    several: list[Any] = [
        (shop.work, ("o",), {}, {"task_id": "other"}),
        (shop.work, ("a",), {}, {"task_id": "first", "depends_on": parents}),
        (shop.work, ("b",), {}, {"task_id": "second", "depends_on": ["first"]}),
        (shop.work, ("c",), {}, {"task_id": "third", "depends_on": [known]}),
    ]
    with pytest.raises(InvalidBatch) as caught:
        shop.turns.submit_many("acme", several)
    assert {place: str(error).partition(":")[0] for place, error in caught.value.errors.items()} == {
        1: "depends_on"
    }
    assert waiting(shop) == []
    assert shop.turns.publisher.waiting("usersequence_acme") == 1
    assert len(shop.turns.tasks.list("acme").tasks) == 1


def test_an_idempotency_key_gives_the_blocked_task_again(shop: Any) -> None:
    parent = submit(shop, "parent")
    options = {"tenant": "acme", "depends_on": [parent], "idempotency_key": "k"}
    results = [shop.work.apply_async(("d",), **options) for _ in range(2)]
    assert (results[0].blocked, results[1].duplicate) == (True, True)
    assert results[0].id == results[1].id


def test_a_replay_of_one_that_failed_with_another_runs_it(
    shop: Any, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    parent = submit(shop, "parent", countdown=60)
    child = submit(shop, "child", parent)
    shop.turns.tasks.cancel("acme", [parent])
    assert shop.turns.dead_letters.replay(Selection(task_id=child)).done == 1
    with worker(settings, tmp_path, "-c", "1"):
        eventually(lambda: state(shop, child) == "SUCCESS", within=20)


def test_a_submission_that_can_never_run_is_refused(shop: Any) -> None:
    mine, others = submit(shop, "mine"), submit(shop, "others", tenant="bolt")
    for parents in (["unknown"], [mine, others], [mine, ""], [mine, 3], mine, [mine] * 1 + ["x"] * 101):
        with pytest.raises(InvalidInput) as error:
            shop.work.apply_async(("x",), tenant="acme", depends_on=parents)
        assert error.value.field == "depends_on"
    with pytest.raises(InvalidInput, match="another task than itself"):
        shop.work.apply_async(("x",), tenant="acme", task_id=mine, depends_on=[mine])
    with pytest.raises(InvalidInput, match="at most 100"):
        shop.work.apply_async(("x",), tenant="acme", depends_on=[str(number) for number in range(101)])
    assert waiting(shop) == []
    assert shop.turns.publisher.waiting("usersequence_acme") == 1


def test_a_blocked_task_that_is_cancelled_never_runs(
    shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    parent = submit(shop, "parent")
    child = submit(shop, "child", parent)
    grandchild = submit(shop, "grandchild", child)
    assert shop.turns.tasks.cancel("acme", [child]).cancelled == (child,)
    assert (state(shop, child), state(shop, grandchild)) == ("CANCELLED", "FAILURE")
    with worker(settings, tmp_path, "-c", "1"):
        eventually(lambda: state(shop, parent) == "SUCCESS", within=20)
        eventually(lambda: shop.turns.registry.cancellations.since(0.0)[0] == [], within=10)
        eventually(lambda: not waiting(shop))
    assert state(shop, child) == "CANCELLED"
    assert ledger.labels() == ["parent"]


def test_a_countdown_begins_when_the_parents_have_succeeded(
    shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    parent = submit(shop, "parent")
    child = submit(shop, "child", parent, countdown=1.0)
    with worker(settings, tmp_path, "-c", "1"):
        eventually(lambda: state(shop, child) == "SUCCESS", within=20)
    told = [event["event"] for _, event in shop.turns.records.history("acme", child)]
    assert told == ["blocked", "delayed", "started", "completed"]
    first, second = ledger.rows()
    assert second["started"] - first["ended"] >= 1.0


def test_the_reaper_lets_go_of_what_nobody_else_did(
    shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """Redis loses all while they wait: the parent that runs afterwards is known, and then its dependant goes."""
    parent = submit(shop, "parent")
    child = submit(shop, "child", parent)
    lose_keys(settings.redis.redis_url, settings.redis.redis_prefix)
    assert state(shop, child) == ""
    sweep = Sweep(shop.turns)
    with worker(settings, tmp_path, "-c", "1"):
        eventually(lambda: state(shop, parent) == "SUCCESS", within=20)
        assert state(shop, child) == ""
        assert sweep.run_once() == 1
        eventually(lambda: state(shop, child) == "SUCCESS")
    assert ledger.labels()[-1:] == ["child"]
    assert not waiting(shop)


def test_what_waits_for_a_task_that_redis_has_forgotten_is_told_and_let_go_by_hand(
    shop: Any, settings: Settings
) -> None:
    parent = submit(shop, "parent")
    submit(shop, "child", parent)
    submit(shop, "child", parent)
    lose_keys(settings.redis.redis_url, settings.redis.redis_prefix)
    found = {each.check: each for each in shop.turns.doctor()}["blocked tasks"]
    assert (found.level, f"2 tasks, for {parent} of acme" in found.found) == ("warning", True)
    assert shop.turns.tasks.release("acme", parent) == 2
    assert shop.turns.publisher.waiting("usersequence_acme") == 3
    assert waiting(shop) == []
    assert {each.check: each for each in shop.turns.doctor()}["blocked tasks"].level == "ok"


def test_two_who_let_go_at_once_let_each_task_go_once(shop: Any) -> None:
    parent = submit(shop, "parent", countdown=60)
    children = [submit(shop, f"child{number}", parent) for number in range(60)]
    shop.turns.records.write({"acme": [Step(parent, "completed", time.time())]})
    with ThreadPoolExecutor(4) as threads:
        counts = list(threads.map(lambda _: Sweep(shop.turns).run_once(), range(4)))
    assert sum(counts) == len(children)
    assert shop.turns.publisher.waiting("usersequence_acme") == len(children)
    assert waiting(shop) == []


def test_a_canvas_may_depend_on_tasks_and_its_tasks_have_records(
    shop: Any, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """A chain whose second task waits for another task, and a chord; a chord one of whose tasks fails fails."""
    other = submit(shop, "other")
    doomed = submit(shop, "doomed", countdown=60)
    first = shop.add.si(1, 2).set(tenant="acme")
    chained = (first | shop.add.si(3, 4).set(tenant="acme", depends_on=[other])).apply_async()
    whole = shop.total("acme").apply_async()
    vain = chord(
        [shop.add.si(1, 1).set(tenant="acme"), shop.add.si(1, 1).set(tenant="acme", depends_on=[doomed])],
        shop.add.s().set(tenant="acme"),
    ).apply_async()
    shop.turns.tasks.cancel("acme", [doomed])
    with worker(settings, tmp_path, "-c", "2"):
        assert chained.get(timeout=20) == 7
        assert whole.get(timeout=20) == 10
        with pytest.raises(DependencyFailed, match="depends on task"):
            vain.get(timeout=20)
        ids = [chained.id, chained.parent.id, whole.id, *(each.id for each in whole.parent.results)]
        eventually(lambda: {state(shop, each) for each in ids} == {"SUCCESS"})


def test_killed_workers_lose_no_dependant(
    shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """Killed while they acknowledge: what has succeeded is known, and what waited for it runs, none before it."""
    pairs = 80
    for number in range(pairs):
        submit(shop, f"child{number}", submit(shop, f"parent{number}", seconds=0.01))
    sweep = Sweep(shop.turns, interval=math.inf)
    sweep.run_once()  # from here on it asks Redis alone, not the result backend
    for turn in range(3):
        with worker(settings, tmp_path, "-c", "2", name=f"w{turn}") as this:
            before = len(ledger)
            eventually(lambda before=before: len(ledger) > before + 10, within=20)
            os.killpg(this.process.pid, signal.SIGKILL)
            this.process.wait()
    assert any(label.startswith("parent") for label in ledger.labels())

    def all_ran() -> bool:
        sweep.run_once()
        return {f"child{number}" for number in range(pairs)} <= set(ledger.labels())

    with worker(settings, tmp_path, "-c", "2", name="last"):
        eventually(all_ran, within=40)
    rows = ledger.rows()
    for number in range(pairs):
        first = min(row["ended"] for row in rows if row["label"] == f"parent{number}")
        assert all(row["started"] >= first for row in rows if row["label"] == f"child{number}")
