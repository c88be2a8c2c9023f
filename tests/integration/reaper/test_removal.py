"""Which queues go and which stay, when nobody interferes; and when Redis does."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from support.publishing import installed
from support.reaping import ServedTenant, flush, meanwhile, publish, queues, reasons
from taketurns.errors import RegistryUnavailable
from taketurns.reaper import reaper as reaper_module
from taketurns.reaper.policy import DECLARED_OTHERWISE
from taketurns.reaper.reaper import Reaper
from taketurns.reaper.recover import RecoverReport
from taketurns.tenants import queue_name
from taketurns.topology import DEAD_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel

    from taketurns import TakeTurns
    from taketurns.reaper.recover import Recoverer
    from taketurns.settings import Settings

    Eventually = Callable[..., None]


def test_an_idle_queue_is_removed_under_a_live_worker(
    acme: ServedTenant, turns: TakeTurns, recoverer: Recoverer, eventually: Eventually
) -> None:
    """The queue that a worker consumes goes once it is idle, and the tenant's next task makes a new one and runs."""
    assert Reaper(turns).run_once().removed == ("acme",)
    assert queues(turns) == set()
    assert turns.registry.activity() == {}
    assert turns.registry.draining() == set()
    acme.submit("second")
    eventually(lambda: recoverer.run_once() and acme.ledger.labels() == ["first", "second"])
    assert queues(turns) == {"acme"}


def test_without_workers_idle_queues_go_and_the_others_stay(
    turns: TakeTurns, channel: BlockingChannel
) -> None:
    """With no worker alive empty queues are removed; those with messages, delayed tasks or no record stay."""
    for tenant in ("idle", "a.b", "full", "delayed", "unrecorded"):
        turns.publisher.ensure(tenant)
    publish(turns, "full")
    turns.registry.touch("delayed", until=turns.registry.activity()["delayed"] + 500)
    turns.registry.clear_activity("unrecorded")
    report = Reaper(turns).run_once()
    assert report.active
    assert report.removed == ("a.b", "idle")
    why = reasons(report)
    assert re.fullmatch(r"idle for \d s", why["idle"])
    assert why["full"] == "1 message"
    assert why["delayed"].startswith("delayed task due in ")
    assert why["unrecorded"] == "no activity record: its idle time begins now"
    assert queues(turns) == {"full", "delayed", "unrecorded"}


@pytest.mark.parametrize("letters", [0, 1])
def test_the_queue_of_the_dead_letters_stays(
    letters: int, turns: TakeTurns, recoverer: Recoverer, channel: BlockingChannel
) -> None:
    """It is no tenant's, so no run removes it, whether it holds anything or not; nor is a letter sent on."""
    turns.publisher.ensure("idle")
    for _ in range(letters):
        channel.basic_publish("", DEAD_QUEUE, b"x")
    assert Reaper(turns).run_once().removed == ("idle",)
    assert recoverer.run_once() == RecoverReport()
    assert turns.dead_letters.count() == letters
    assert DEAD_QUEUE in turns.management.queues()


def test_a_recently_active_tenant_keeps_its_queue(turns: TakeTurns, settings: Settings) -> None:
    """With the default idle time nothing that was just used goes."""
    patient = replace(settings, reaper=settings.reaper.model_copy(update={"idle_time": 3600.0}))
    turns.publisher.ensure("acme")
    with installed(patient) as own:
        report = Reaper(own).run_once()
    assert report.removed == ()
    assert reasons(report)["acme"].startswith("active ")


def test_a_tenant_can_be_removed_before_it_is_idle(turns: TakeTurns, settings: Settings) -> None:
    """At an operator's wish queue, settings and records go at once, whichever reaper is the active one."""
    patient = replace(settings, reaper=settings.reaper.model_copy(update={"idle_time": 3600.0}))
    assert Reaper(turns).run_once().active
    turns.publisher.ensure("acme")
    turns.registry.update("acme", weight=2)
    with installed(patient) as own:
        outcome = Reaper(own).remove("acme")
        assert outcome is not None
        assert outcome.remove
        assert queues(turns) == set()
        assert not turns.registry.exists("acme")
        assert turns.registry.draining() == set()
        assert Reaper(own).remove("acme") is None


def test_a_tenant_with_a_delayed_task_can_not_be_removed(turns: TakeTurns) -> None:
    """A queue that a delayed task will need stays at an operator's wish too, and the settings with it."""
    turns.publisher.ensure("acme")
    turns.registry.update("acme", weight=2)
    turns.registry.touch("acme", until=turns.registry.activity()["acme"] + 500)
    outcome = Reaper(turns).remove("acme")
    assert outcome is not None
    assert not outcome.remove
    assert outcome.reason.startswith("delayed task due in ")
    assert queues(turns) == {"acme"}
    assert turns.registry.get("acme").weight == 2


def test_a_dry_run_touches_nothing(turns: TakeTurns) -> None:
    """A dry run tells what would go and why, and changes neither queues, activity, marks nor who leads."""
    turns.publisher.ensure("idle")
    turns.publisher.ensure("full")
    turns.publisher.ensure("unrecorded")
    publish(turns, "full")
    turns.registry.clear_activity("unrecorded")
    before = turns.registry.activity()
    report = Reaper(turns).run_once(dry_run=True)
    assert report.dry_run
    assert report.removed == ()
    assert {each.tenant: each.remove for each in report.decisions} == {
        "idle": True,
        "full": False,
        "unrecorded": False,
    }
    assert queues(turns) == {"idle", "full", "unrecorded"}
    assert turns.registry.activity() == before
    assert turns.registry.draining() == set()
    assert Reaper(turns).run_once().active


def test_many_queues_go_in_batches(turns: TakeTurns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every idle queue goes in one run, also those beyond the first batch."""
    monkeypatch.setattr(reaper_module, "BATCH", 5)
    tenants = tuple(f"t{n:02}" for n in range(12))
    for tenant in tenants:
        turns.publisher.ensure(tenant)
    assert Reaper(turns).run_once().removed == tenants
    assert queues(turns) == set()


def test_a_queue_declared_otherwise_is_reported_once_and_left_alone(
    turns: TakeTurns, channel: BlockingChannel, caplog: pytest.LogCaptureFixture
) -> None:
    """A queue of our name with other arguments stays, is told in the report, and is logged once."""
    channel.queue_declare(queue_name("foreign"), durable=True, arguments={"x-queue-type": "quorum"})
    turns.registry.touch("foreign")
    reaper = Reaper(turns)
    for _ in range(2):
        assert reasons(reaper.run_once()) == {"foreign": DECLARED_OTHERWISE}
    assert queues(turns) == {"foreign"}
    assert [record.levelname for record in caplog.records if DECLARED_OTHERWISE in record.message] == [
        "WARNING"
    ]


def test_records_without_a_queue_are_cleared(turns: TakeTurns) -> None:
    """The activity of a tenant whose queue was deleted by hand does not stay in Redis for ever."""
    turns.registry.touch("gone")
    turns.registry.touch("delayed", until=turns.registry.activity()["gone"] + 500)
    assert Reaper(turns).run_once().forgotten == ("gone",)
    assert set(turns.registry.activity()) == {"delayed"}


def test_lost_activity_removes_nothing(turns: TakeTurns) -> None:
    """When Redis has lost its data every queue stays, and its idle time begins anew."""
    turns.publisher.ensure("a")
    turns.publisher.ensure("b")
    flush(turns)
    report = Reaper(turns).run_once()
    assert report.removed == ()
    assert queues(turns) == {"a", "b"}
    assert set(turns.registry.activity()) == {"a", "b"}


def test_activity_lost_while_draining_removes_nothing(
    turns: TakeTurns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When Redis loses its data between the drain and the deletion, the queue stays."""
    turns.publisher.ensure("acme")
    reaper = Reaper(turns)
    meanwhile(monkeypatch, reaper, "_workers.drain", after=lambda: flush(turns))
    report = reaper.run_once()
    assert reasons(report) == {"acme": "its draining mark is gone"}
    assert queues(turns) == {"acme"}


def test_without_redis_nothing_is_removed(turns: TakeTurns, settings: Settings) -> None:
    """While Redis is away a run raises and removes nothing, and so does a dry run."""
    turns.publisher.ensure("acme")
    nowhere = replace(settings, redis=settings.redis.model_copy(update={"redis_url": "redis://127.0.0.1:1"}))
    with installed(nowhere) as own:
        for dry_run in (False, True):
            with pytest.raises(RegistryUnavailable):
                Reaper(own).run_once(dry_run=dry_run)
    assert queues(turns) == {"acme"}
