"""Owners that share tenants: one queue, one limit, and what follows a task stays with its owner."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group

from support.canvas import build, rows
from support.publishing import close
from support.reaping import queues
from support.redis_keys import lose_keys
from support.workers import worker
from taketurns import TakeTurns
from taketurns.deadletters.selection import Selection
from taketurns.dependencies.sweep import Sweep
from taketurns.errors import InvalidInput
from taketurns.reaper.reaper import Reaper
from taketurns.resolving import Tenancy
from taketurns.settings import TenantKeySettings
from taketurns.tenant_key import TenantKey, shard_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery
    from pika.adapters.blocking_connection import BlockingChannel

    from support.workers import Ledger, Worker
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

OWNERS = [f"user-{number}" for number in range(16)]


@contextmanager
def sharded(settings: Settings, shards: int | None) -> Iterator[Celery]:
    """Lend the app of ``support.canvas`` as a process has it whose settings say so many shards."""
    app = build(replace(settings, tenant_key=TenantKeySettings(shards=shards)))
    yield app
    close(app)


def test_a_task_goes_to_its_owners_shard(settings: Settings, amqp: BlockingChannel) -> None:
    """The message names both; whatever a caller says about the owner in headers of its own does not count."""
    with sharded(settings, 4) as app:
        app.tasks["note"].apply_async(("a",), tenant="ann", headers={"taketurns_owner": "eve"})
        _, properties, _ = amqp.basic_get(f"usersequence_{shard_of('ann', 4)}", auto_ack=True)
    assert properties.headers["taketurns_tenant"] == shard_of("ann", 4)
    assert properties.headers["taketurns_owner"] == "ann"


def test_shards_are_changed_without_losing_tasks(
    settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """From none to 4 to 8 while tasks are queued: each runs once, and the queues of the old mappings go."""
    expected: dict[str, str] = {}
    for shards in (None, 4, 8):
        with sharded(settings, shards) as app:
            note, twice = app.tasks["note"], app.tasks["twice"]
            for owner in OWNERS:
                label = f"{shards}-{owner}"
                chain(note.si(f"{label}-first"), note.si(f"{label}-second")).set(tenant=owner).apply_async()
                twice.apply_async((f"{label}-twice",), tenant=owner)
                expected |= {f"{label}-{each}": owner for each in ("first", "second", "twice")}
    with sharded(settings, 8) as app:
        turns = TakeTurns.of(app)
        assert queues(turns) == {*OWNERS, *(shard_of(owner, shards) for owner in OWNERS for shards in (4, 8))}
        with worker(
            settings,
            tmp_path,
            "-P",
            "threads",
            "-c",
            "4",
            app="support.canvas_worker",
            TAKETURNS_TENANT_KEY_SHARDS="8",
        ):
            eventually(lambda: len(rows(settings)) >= len(expected) * 4 // 3, within=30)
            ran = rows(settings)
            assert Counter((row["label"], row["retries"]) for row in ran) == Counter(
                (label, attempt)
                for label in expected
                for attempt in range(2 if label.endswith("twice") else 1)
            )
            assert {row["label"]: row["owner"] for row in ran} == expected
            follow = [row for row in ran if row["label"].endswith("second") or row["retries"]]
            assert {row["tenant"] for row in follow} == {shard_of(owner, 8) for owner in OWNERS}
            quick = turns.settings.reaper.model_copy(update={"idle_time": 0.0})
            turns.settings = replace(turns.settings, reaper=quick)
            reaper = Reaper(turns)
            eventually(lambda: reaper.run_once() and queues(turns) == set(), within=20)


def test_what_follows_a_task_stays_with_its_owner(
    settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """Through an ordinary task, into a task's own submissions, callbacks and a chord's body; limits are shared."""
    ann, ben = "ann", next(owner for owner in OWNERS if shard_of(owner, 2) == shard_of("ann", 2))
    shard = shard_of(ann, 2)
    with (
        sharded(settings, 2) as app,
        worker(
            settings,
            tmp_path,
            "-P",
            "threads",
            "-c",
            "4",
            "-Q",
            "ordinary,elsewhere",
            app="support.canvas_worker",
            TAKETURNS_TENANT_KEY_SHARDS="2",
            TAKETURNS_WORKER_SERVE_TENANTS="always",
        ),
    ):
        tasks = app.tasks
        chain(tasks["note"].si("a"), tasks["plain"].si("b"), tasks["note"].si("c")).apply_async(tenant=ann)
        tasks["spawn"].apply_async(("d",), tenant=ann)
        tasks["spawn"].apply_async(("other", "zoe"), tenant=ann)
        tasks["fail"].apply_async(("e",), tenant=ann, link_error=tasks["mourn"].s())
        tasks["replace_me"].apply_async(("f",), tenant=ann)
        chord(group(tasks["note"].si("g"), tasks["note"].si("h")), tasks["collect"].s("i")).apply_async(
            tenant=ann
        )
        expected = dict.fromkeys([*"abcdefghi", "errback"], ann) | {"other": "zoe"}
        eventually(lambda: whose(settings) == expected, within=20)
        of_ann = [row for row in rows(settings) if row["owner"] == ann and row["label"] != "b"]
        assert {row["came_by"] for row in of_ann} == {f"usersequence_{shard}"}

        def is_throttled_by_another() -> bool:
            tasks["note"].apply_async(("another",), tenant=ann)
            return bool(TakeTurns.of(app).explain(shard).reason == "throttled")

        TakeTurns.of(app).update(shard, rate_limit="1/1h")
        eventually(is_throttled_by_another)  # the worker hears of the limit within a second
        tasks["note"].apply_async(("second",), tenant=ben)
        assert TakeTurns.of(app).explain(shard).reason == "throttled"
        assert "second" not in whose(settings)


def keyed(shop: Any, shards: int | None) -> Any:
    """Have the publisher of ``support.shop`` map owners to so many shards."""
    shop.turns.tenancy = Tenancy(key=TenantKey(shards=shards))
    return shop


@contextmanager
def shards_served(settings: Settings, log: Path, shards: int, *options: str) -> Iterator[Worker]:
    """Run a worker of ``support.shop`` that maps owners to so many shards."""
    with worker(settings, log, *options, TAKETURNS_TENANT_KEY_SHARDS=str(shards)) as this:
        yield this


def state(shop: Any, owner: str, task_id: str) -> str:
    record = shop.turns.tasks.get(owner, task_id)
    return "" if record is None else str(shop.turns.tasks.state(record))


def test_what_becomes_of_tasks_is_told_of_their_owners(
    shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """Two in one tenant: records, progress, letters and what depends on them are each one's own."""
    turns = keyed(shop, 1).turns
    tasks: dict[str, dict[str, str]] = {}
    for owner in ("ann", "ben"):
        given: dict[str, Any] = {"tenant": owner}
        parent = shop.work.apply_async((owner,), countdown=0.5, **given).id
        failed = shop.fail.apply_async((f"{owner}-fails",), countdown=0.5, **given).id
        tasks[owner] = {
            "parent": parent,
            "child": shop.work.apply_async((f"{owner}-child",), depends_on=[parent], **given).id,
            "failed": failed,
            "doomed": shop.work.apply_async((f"{owner}-doomed",), depends_on=[failed], **given).id,
            "counted": shop.count.apply_async((3,), **given).id,
            "flaky": shop.flaky.apply_async((f"{owner}-flaky",), **given).id,
        }
        with pytest.raises(InvalidInput, match="same tenant"):
            shop.work.apply_async(tenant="ben" if owner == "ann" else "ann", depends_on=[parent])
    ends = dict.fromkeys(("parent", "child", "counted", "flaky"), "SUCCESS") | dict.fromkeys(
        ("failed", "doomed"), "FAILURE"
    )
    with shards_served(settings, tmp_path, 1, "-P", "threads", "-c", "4"):
        for owner, ids in tasks.items():
            eventually(lambda o=owner, i=ids: {k: state(shop, o, v) for k, v in i.items()} == ends, within=30)
    assert sorted(label for label in ledger.labels() if "doomed" in label) == []
    for owner, other in (("ann", "ben"), ("ben", "ann")):
        page = turns.tasks.list(owner)
        assert {record.id for record, _ in page.tasks} == set(tasks[owner].values())
        assert {record.queue for record, _ in page.tasks} == {"usersequence_shard-0000"}
        assert turns.tasks.get(other, tasks[owner]["counted"]) is None
        progress = turns.tasks.get(owner, tasks[owner]["counted"]).progress
        assert (progress.done, progress.total) == (3, 3)
        assert turns.tasks.stats(owner).runs.count == 4
        letters = turns.dead_letters.list(Selection(owner=owner))
        assert {each.task_id for each in letters} == {tasks[owner][name] for name in ("failed", "doomed")}
        assert {each.tenant for each in letters} == {"shard-0000"}
    assert turns.tasks.list("shard-0000").tasks == ()
    eventually(lambda: turns.registry.history.of("shard-0000").failed == 4)


def test_who_shares_a_tenant_has_locks_of_its_own(
    shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """A singleton of one owner's waits for another one of its own alone, and its lock is the owner's."""
    turns = keyed(shop, 1).turns
    with shards_served(settings, tmp_path, 1, "-P", "threads", "-c", "4"):
        for label, owner in (("ann-1", "ann"), ("ann-2", "ann"), ("ben-1", "ben")):
            shop.hold_alone.apply_async((label,), tenant=owner)
        eventually(lambda: turns.status().running == 2, within=20)  # it can't be both of ann's, see below
        with turns.lock("ann", "books"), turns.lock("ben", "books"):
            for _ in range(3):
                ledger.let_go()
            eventually(lambda: len(ledger) == 3, within=30)
    rows = {row["label"]: row for row in ledger.rows()}
    first, second = sorted((rows["ann-1"], rows["ann-2"]), key=lambda row: row["started"])
    assert first["ended"] <= second["started"]


def test_a_record_that_redis_has_lost_begins_anew_with_its_owner(
    shop: Any, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """And so do dependencies: after a FLUSHALL they are known by the queue of what waits."""
    keyed(shop, 1)
    parent = shop.work.apply_async(("parent",), tenant="ann").id
    child = shop.work.apply_async(("child",), tenant="ann", depends_on=[parent]).id
    lose_keys(settings.redis.redis_url, settings.redis.redis_prefix)
    sweep = Sweep(shop.turns, interval=0)
    sweep.run_once()
    with shards_served(settings, tmp_path, 1, "-P", "threads", "-c", "1"):
        eventually(lambda: state(shop, "ann", parent) == "SUCCESS", within=20)
        eventually(lambda: sweep.run_once() is not None and state(shop, "ann", child) == "SUCCESS", within=20)
    assert shop.turns.tasks.get("ann", parent).queue == "usersequence_shard-0000"
    assert shop.turns.tasks.list("shard-0000").tasks == ()


def test_what_was_submitted_before_the_mapping_changed_is_its_owners(
    shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """It runs from the old queues, is seen and cancelled; what is retried, replayed or let go follows the new one.

    From none to two shards, and back to none.
    """
    turns = shop.turns
    steps: list[tuple[int | None, int | None]] = [(None, 2), (2, None)]
    for before, after in steps:
        keyed(shop, before)
        owner = "ann" if before is None else "ben"
        old, new = (f"usersequence_{TenantKey(shards=n).tenant_of(owner)}" for n in (before, after))
        given: dict[str, Any] = {"tenant": owner}
        queued = shop.work.apply_async((f"{owner}-queued",), **given).id
        delayed = shop.work.apply_async((f"{owner}-delayed",), countdown=3, **given).id
        tried = shop.flaky.apply_async((f"{owner}-tried",), **given).id
        parent = shop.work.apply_async((f"{owner}-parent",), countdown=1, **given).id
        child = shop.work.apply_async((f"{owner}-child",), depends_on=[parent], **given).id
        unwanted = shop.work.apply_async((f"{owner}-unwanted",), **given).id
        later = shop.work.apply_async((f"{owner}-unwanted",), countdown=2, **given).id
        failed = shop.fail.apply_async((f"{owner}-fails",), **given).id
        key = {**given, "idempotency_key": "once"}
        once = shop.work.apply_async((f"{owner}-once",), **key).id

        keyed(shop, after)
        assert turns.tenant_of(owner) == new.removeprefix("usersequence_")
        assert shop.work.apply_async((f"{owner}-once",), **key).id == once
        assert set(turns.tasks.cancel(owner, [unwanted, later]).cancelled) == {unwanted, later}
        variables: Any = {} if after is None else {"TAKETURNS_TENANT_KEY_SHARDS": str(after)}
        with worker(settings, tmp_path, "-P", "threads", "-c", "4", name=owner, **variables):
            for task_id in (queued, delayed, tried, parent, child, once):
                eventually(lambda o=owner, i=task_id: state(shop, o, i) == "SUCCESS", within=30)
            eventually(lambda o=owner, i=failed: state(shop, o, i) == "FAILURE", within=20)
            assert turns.dead_letters.replay(Selection(owner=owner)).done == 1
            eventually(lambda o=owner: ledger.labels().count(f"{o}-fails") == 2, within=20)
            eventually(lambda o=owner, i=failed: state(shop, o, i) == "FAILURE", within=20)
        assert {state(shop, owner, each) for each in (unwanted, later)} == {"CANCELLED"}
        queues_of = {
            name: turns.tasks.get(owner, task_id).queue
            for name, task_id in (
                ("queued", queued),
                ("delayed", delayed),
                ("tried", tried),
                ("child", child),
                ("failed", failed),
            )
        }
        assert queues_of == {"queued": old, "delayed": old, "tried": new, "child": new, "failed": new}
        turns.dead_letters.discard(Selection(owner=owner))
    ran = [label for label in ledger.labels() if not label.endswith("fails")]
    each = ("queued", "delayed", "tried-0", "tried-1", "parent", "child", "once")
    assert sorted(ran) == sorted(f"{owner}-{label}" for owner in ("ann", "ben") for label in each)


def whose(settings: Settings) -> dict[str, Any]:
    return {row["label"]: row["owner"] for row in rows(settings)}
