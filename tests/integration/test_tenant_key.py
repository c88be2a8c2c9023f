"""Owners that share tenants: one queue, one limit, and what follows a task stays with its owner."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from celery import chain, chord, group

from support.canvas import build, rows
from support.publishing import close
from support.reaping import queues
from support.workers import worker
from taketurns import TakeTurns
from taketurns.reaper.reaper import Reaper
from taketurns.settings import TenantKeySettings
from taketurns.tenant_key import shard_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery
    from pika.adapters.blocking_connection import BlockingChannel

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

        TakeTurns.of(app).update(shard, rate_limit="1/1h")
        tasks["note"].apply_async(("first",), tenant=ann)
        eventually(lambda: "first" in whose(settings))
        tasks["note"].apply_async(("second",), tenant=ben)
        eventually(lambda: TakeTurns.of(app).explain(shard).reason == "throttled")
        assert "second" not in whose(settings)


def whose(settings: Settings) -> dict[str, Any]:
    return {row["label"]: row["owner"] for row in rows(settings)}
