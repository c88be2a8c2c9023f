"""What operators do with tenants from Python, on real servers and with real workers."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from support.outages import without_broker
from support.publishing import installed
from support.reaping import flush, queues
from support.workers import worker
from taketurns.errors import (
    BrokerUnavailable,
    InvalidInput,
    InvalidRate,
    InvalidTenant,
    TenantExists,
    TenantInUse,
    UnknownTenant,
)
from taketurns.reaper.reaper import Reaper
from taketurns.reaper.recover import Recoverer
from taketurns.registry.history import Ended, Past

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.workers import Ledger
    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

THREADS = ("-P", "threads", "-c", "2")


# ---- create, update, list


def test_a_tenant_is_created_with_its_queue_and_settings(turns: TakeTurns) -> None:
    """By its id, or with one of its own, ``batch_`` and a UUID; and found in the list with what was set."""
    before = time.time()
    assert turns.create("acme", rate_limit="5/1m", tags={"plan": "pro"}, paused=True) == "acme"
    batch = turns.create(weight=2)
    assert batch.startswith("batch_")
    assert len(batch) == len("batch_") + 36
    assert queues(turns) == {"acme", batch}
    acme, other = turns.list()
    assert (acme.tenant, acme.has_queue, acme.ready, acme.unacknowledged) == ("acme", True, 0, 0)
    assert (acme.settings.rate_limit, acme.settings.tags, acme.settings.paused) == (
        "5/1m",
        {"plan": "pro"},
        True,
    )
    assert acme.created_at is not None
    assert before - 1 < acme.created_at < time.time() + 1
    assert (other.tenant, other.settings.weight) == (batch, 2)
    assert [each.tenant for each in turns.list(tags={"plan": "pro"})] == ["acme"]


def test_what_is_there_is_not_created_again(turns: TakeTurns) -> None:
    """Neither who has settings nor who was active; nothing of it changes."""
    turns.update("settled", weight=3)
    turns.publisher.ensure("active")
    for tenant in ("settled", "active"):
        with pytest.raises(TenantExists, match=f"'{tenant}' already"):
            turns.create(tenant, weight=5)
    assert {tenant: each.weight for tenant, each in turns.registry.all().items()} == {"settled": 3}


@pytest.mark.parametrize(
    ("tenant", "given", "error"),
    [
        ("a b", {}, InvalidTenant),
        ("", {}, InvalidTenant),
        ("acme", {"rate_limit": "0/1s"}, InvalidRate),
        ("acme", {"weight": 0}, InvalidInput),
        ("acme", {"colour": "red"}, TypeError),
    ],
)
def test_a_tenant_of_another_form_is_not_created(
    tenant: str, given: dict[str, Any], error: type[Exception], turns: TakeTurns
) -> None:
    """A bad id or setting leaves neither settings nor a queue."""
    with pytest.raises(error):
        turns.create(tenant, **given)
    assert turns.list() == []


def test_without_rabbitmq_nothing_is_created(settings: Settings) -> None:
    """So that the next attempt is not told that the tenant exists."""
    with installed(without_broker(settings, "127.0.0.1:1")) as turns:
        for _ in range(2):
            with pytest.raises(BrokerUnavailable):
                turns.create("acme", weight=2)
        assert not turns.registry.exists("acme")
        assert turns.registry.history.of("acme") == Past()


def test_a_tenant_is_paused_resumed_and_changed(turns: TakeTurns) -> None:
    """Each returns all the settings."""
    assert turns.pause("acme").paused
    changed = turns.update("acme", rate_limit="1/1s")
    assert (changed.paused, changed.rate_limit) == (True, "1/1s")
    assert not turns.resume("acme").paused
    assert turns.registry.get("acme") == turns.update("acme")


def test_the_rates_stand_as_the_limiter_has_them(turns: TakeTurns) -> None:
    """The tenant's own rate, those of tasks and of priorities; a token that was taken is missing."""
    turns.create("acme", rate_limit="10/60s:5", task_rate_limits={"work": "1/1h"})
    turns.update("acme", priority_rate_limits={"high": "2/1s"})
    with pytest.raises(UnknownTenant):
        turns.rate_status("nobody")
    assert [(each.scope, each.limit, each.tokens) for each in turns.rate_status("acme")] == [
        ("tenant", "10/1m:5", 5),
        ("priority high", "2/1s", 1),
    ]
    limits = turns.limits.of("acme", "any", None, None)
    assert turns.limiter.admit("acme", "any", limits, lease="1").admitted
    first = turns.rate_status("acme")[0]
    assert 4 <= first.tokens < 4.1
    assert first.next_token_in == 0


# ---- stats


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_tasks_are_counted_as_they_wait_run_and_end(
    pool: str,
    turns: TakeTurns,
    shop: Any,
    settings: Settings,
    ledger: Ledger,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """A retry and what is revoked are neither completed nor failed; the last ones are told when the worker stops."""
    for label in ("one", "two"):
        shop.work.apply_async((label,), tenant="acme")
    shop.flaky.apply_async(("again",), tenant="acme")
    shop.fail.apply_async(("ill",), tenant="acme")
    shop.work.apply_async(("late",), tenant="acme", expires=0.01)
    before = turns.stats("acme")
    assert (before.waiting, before.running, before.completed, before.failed) == (5, 0, 0, 0)

    def ended() -> tuple[int, int]:
        found = turns.stats("acme")
        return found.completed, found.failed

    with worker(settings, tmp_path, "-P", pool, "-c", "1") as process:
        eventually(lambda: ended() == (3, 1))
        shop.hold.apply_async(("held",), tenant="acme")
        shop.work.apply_async(("next",), tenant="acme")
        eventually(lambda: (turns.stats("acme").waiting, turns.stats("acme").running) == (1, 1))
        ledger.let_go()
        eventually(lambda: ledger.labels()[-1] == "next")
        assert process.stop() == 0
    assert ended() == (5, 1)
    after = turns.stats("acme")
    assert (after.waiting, after.running, after.created_at) == (0, 0, before.created_at)


def test_who_is_unknown_has_no_stats(turns: TakeTurns) -> None:
    """One with settings alone has."""
    with pytest.raises(UnknownTenant, match="no tenant 'nobody'"):
        turns.stats("nobody")
    with pytest.raises(InvalidTenant):
        turns.stats("a b")
    turns.update("acme", weight=2)
    assert (turns.stats("acme").waiting, turns.stats("acme").completed) == (0, 0)


def test_settings_and_past_survive_the_reaping_of_the_queue(turns: TakeTurns, settings: Settings) -> None:
    """Rate, tags and pause are those of the next queue too; of who has no settings nothing is kept."""
    turns.create("acme", rate_limit="5/1m", tags={"plan": "pro"}, paused=True)
    turns.publisher.ensure("passing")
    turns.registry.worked(["acme", "passing"], {"acme": Ended(7, 1), "passing": Ended(3, 0)})
    created = turns.stats("acme").created_at
    idle = replace(settings, reaper=settings.reaper.model_copy(update={"idle_time": 0.0}))
    with installed(idle) as own:
        assert Reaper(own).run_once().removed == ("acme", "passing")
    assert turns.registry.activity() == {}
    (kept,) = turns.list()
    assert (kept.tenant, kept.has_queue, kept.completed, kept.failed) == ("acme", False, 7, 1)
    assert kept.settings.rate_limit == "5/1m"
    assert (kept.settings.tags, kept.settings.paused) == ({"plan": "pro"}, True)
    with installed(settings) as later:  # this process thinks for a second that the queues are there
        later.publisher.ensure("acme")
        later.publisher.ensure("passing")
    acme, passing = turns.list()
    assert (acme.settings, acme.completed, acme.created_at) == (kept.settings, 7, created)
    assert passing.completed == 0


def test_without_redis_data_the_past_begins_anew(turns: TakeTurns) -> None:
    """What FLUSHALL undoes: the counts, and since when a tenant is known."""
    turns.publisher.ensure("acme")
    turns.registry.worked(["acme"], {"acme": Ended(7, 1)})
    flush(turns)
    stats = turns.stats("acme")
    assert (stats.completed, stats.failed, stats.created_at) == (0, 0, None)


# ---- purge


def test_what_waits_is_purged_and_what_runs_goes_on(
    turns: TakeTurns,
    shop: Any,
    settings: Settings,
    ledger: Ledger,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """What the worker holds and has not started goes too; the tenant is served at once again, others all the time."""
    with worker(settings, tmp_path, *THREADS):
        for label in ("a", "b"):
            shop.hold.apply_async((label,), tenant="acme")
        eventually(lambda: turns.stats("acme").running == 2)
        for number in range(40):
            shop.work.apply_async((f"{number}",), tenant="acme")
        due = time.time() + 3600
        shop.work.apply_async(("later",), tenant="acme", countdown=3600)
        eventually(lambda: turns.stats("acme").waiting == 40)
        found = turns.purge("acme")
        assert (found.tenant, found.purged, found.running, found.silent) == ("acme", 40, 2, ())
        assert found.due_until == pytest.approx(due, abs=60)
        assert (turns.stats("acme").waiting, turns.stats("acme").running) == (0, 2)
        assert turns.registry.draining() == set()
        shop.work.apply_async(("after",), tenant="acme")
        ledger.let_go()
        ledger.let_go()
        eventually(lambda: sorted(ledger.labels()) == ["a", "after", "b"])


def test_a_purge_needs_a_tenant(turns: TakeTurns) -> None:
    """One that is known; a queue that is gone is empty, and one that is being removed is left alone."""
    with pytest.raises(UnknownTenant):
        turns.purge("nobody")
    turns.update("acme", weight=2)
    assert (turns.purge("acme").purged, turns.purge("acme").due_until) == (0, None)
    turns.registry.mark_draining(["acme"], 60)
    with pytest.raises(TenantInUse, match="at this moment"):
        turns.purge("acme")
    assert turns.registry.draining() == {"acme"}


def test_a_worker_that_does_not_answer_is_named(turns: TakeTurns, shop: Any, eventually: Eventually) -> None:
    """What waits is purged all the same."""
    turns.registry.worker_alive("gone@host", 60)
    shop.work.apply_async(("one",), tenant="acme")
    eventually(lambda: turns.stats("acme").waiting == 1)
    found = turns.purge("acme")
    assert (found.purged, found.silent) == (1, ("gone@host",))


# ---- remove


def test_a_tenant_with_tasks_is_removed_by_force_only(
    turns: TakeTurns, shop: Any, eventually: Eventually
) -> None:
    """Without it nothing happens; with it the tasks go, and what is delayed makes a new queue when it is due."""
    turns.create("acme", weight=2)
    for label in ("one", "two"):
        shop.work.apply_async((label,), tenant="acme")
    shop.work.apply_async(("later",), tenant="acme", countdown=2)
    eventually(lambda: turns.stats("acme").waiting == 2)
    with pytest.raises(TenantInUse, match="2 messages"):
        turns.remove("acme")
    assert (turns.stats("acme").waiting, turns.registry.get("acme").weight) == (2, 2)
    assert turns.remove("acme", force=True) == 2
    assert (queues(turns), turns.list(), turns.registry.draining()) == (set(), [], set())
    assert turns.registry.history.of("acme") == Past()
    with pytest.raises(UnknownTenant):
        turns.remove("acme", force=True)
    recoverer = Recoverer(turns)
    eventually(lambda: recoverer.run_once() and queues(turns) == {"acme"})
    recoverer.close()
    assert (turns.stats("acme").waiting, turns.registry.get("acme").weight) == (1, 1)


def test_a_queue_that_a_worker_consumes_is_never_removed(
    turns: TakeTurns,
    shop: Any,
    settings: Settings,
    ledger: Ledger,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """Force waits for running tasks, and throws nothing away if they take longer; when they have ended it goes."""
    quick = replace(settings, reaper=settings.reaper.model_copy(update={"confirm_timeout": 0.3}))
    with worker(settings, tmp_path, "-P", "threads", "-c", "1") as process, installed(quick) as own:
        shop.hold.apply_async(("a",), tenant="acme")
        eventually(lambda: turns.stats("acme").running == 1)
        shop.work.apply_async(("b",), tenant="acme")
        eventually(lambda: turns.stats("acme").waiting == 1)
        turns.pause("acme")
        with pytest.raises(TenantInUse, match=f"held by worker {process.name}"):
            own.remove("acme", force=True)
        assert (turns.stats("acme").waiting, turns.stats("acme").running) == (1, 1)
        ledger.let_go()
        eventually(lambda: turns.stats("acme").running == 0)
        assert own.remove("acme", force=True) == 1
        assert queues(turns) == set()
        shop.work.apply_async(("c",), tenant="acme")
        recoverer = Recoverer(turns)
        eventually(lambda: recoverer.run_once() and ledger.labels() == ["a", "c"])
        recoverer.close()


def test_a_quorum_queue_is_removed_by_force(turns: TakeTurns, settings: Settings, shop: Any) -> None:
    """Although the management API tells late that it is empty."""
    quorum = replace(settings, broker=settings.broker.model_copy(update={"queue_type": "quorum"}))
    with installed(quorum) as own:
        own.create("acme")
        shop.work.apply_async(("one",), tenant="acme")
        assert own.remove("acme", force=True) == 1
        assert queues(turns) == set()
