"""Schedules on real servers, by real beats: each run once, whatever becomes of a beat."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.beat import ScheduleEntry

from support.proxy import running
from support.publishing import installed
from support.workers import started
from taketurns import TakeTurns, TenantTask
from taketurns.errors import (
    InvalidInput,
    ScheduleExists,
    TaketurnsError,
    TenantInUse,
    TooManySchedules,
    UnknownSchedule,
    UnknownTenant,
)
from taketurns.schedules.entries import LastRuns
from taketurns.schedules.firing import DUE_HEADER, SCHEDULE_HEADER, Firing
from taketurns.topology import TENANT_QUEUE_ARGUMENTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from support.workers import Worker
    from taketurns.schedules import Schedule, Schedules
    from taketurns.settings import Settings
    from taketurns.store import Store

    Eventually = Callable[..., None]

HOUR = 3600.0
QUICK = {"TAKETURNS_SCHEDULES_TAKEOVER": "2", "TAKETURNS_SCHEDULES_MAX_MISSED": "60"}


class Runs:
    """The tasks that schedules have submitted, as they come out of a tenant's queue."""

    def __init__(self, amqp: BlockingChannel, tenant: str = "acme") -> None:
        self._amqp = amqp
        self._queue = f"usersequence_{tenant}"
        self.headers: list[dict[str, Any]] = []
        self.bodies: list[Any] = []

    def take(self) -> Runs:
        """Take what is there."""
        self._amqp.queue_declare(self._queue, durable=True, arguments=dict(TENANT_QUEUE_ARGUMENTS["classic"]))
        while True:
            _, properties, body = self._amqp.basic_get(self._queue, auto_ack=True)
            if body is None or properties is None:
                return self
            self.headers.append(dict(properties.headers))
            self.bodies.append(json.loads(body)[:2])

    def due(self, name: str) -> list[int]:
        """Return for when the runs of a schedule were due, in the order in which they were submitted."""
        found = [each[DUE_HEADER] for each in self.take().headers if each[SCHEDULE_HEADER] == name]
        return [int(datetime.fromisoformat(text).timestamp()) for text in found]


def as_of(turns: TakeTurns, name: str, ago: float, **changes: Any) -> Schedule:
    """Have a schedule of acme's due since some time ago, as if no beat had run since then."""

    def change(schedule: Schedule, now: float) -> Schedule:
        anchor = int(now - ago)
        return replace(schedule, anchor=anchor - 10 * int(HOUR), next_due_at=float(anchor), **changes)

    return turns.schedules.book.edit("acme", name, change)


def idle() -> None:
    """Be a task."""


def leader(schedules: Schedules) -> int | None:
    """Return the process id of the beat that leads, if one does."""
    name = schedules.beat()
    return None if name is None else int(name.split(":")[1])


@pytest.fixture
def beat(settings: Settings, tmp_path: Path) -> Callable[..., AbstractContextManager[Worker]]:
    """Return a function that runs ``celery beat`` until a block ends."""

    def run(name: str = "beat", **variables: str) -> AbstractContextManager[Worker]:
        own: dict[str, Any] = {**QUICK, **variables}
        return started(settings, tmp_path, name, "beat", "-l", "INFO", app="support.shop", **own)

    return run


@pytest.fixture
def shop_turns(shop: Any) -> TakeTurns:
    """The extension of support.shop in this process."""
    turns: TakeTurns = shop.turns
    return turns


@pytest.fixture
def firing(turns: TakeTurns, work: Any) -> Firing:
    """What a beat does, in this process."""
    return Firing(turns)


def test_each_run_is_submitted_once_by_two_beats(
    shop_turns: TakeTurns,
    beat: Callable[..., AbstractContextManager[Worker]],
    amqp: BlockingChannel,
    eventually: Eventually,
) -> None:
    """Also if the one that leads hangs for longer than its role lasts, and goes on; and if it is killed."""
    schedules, runs = shop_turns.schedules, Runs(amqp)
    schedules.create("acme", "tick", "support.shop.work", every="1s", args=["i-1"], missed="all")
    with beat("one") as one, beat("two") as two:
        beats: dict[int | None, Worker] = {each.process.pid: each for each in (one, two)}
        eventually(lambda: len(runs.due("tick")) >= 2, within=40, what="two runs")
        eventually(lambda: "standing by" in one.output + two.output, within=40, what="the other stands by")
        eventually(lambda: leader(schedules) in beats, what="one leads")
        first = leader(schedules)
        (second,) = beats.keys() - {first}
        with beats[first].silent():
            eventually(lambda: leader(schedules) == second, within=30, what="the other takes over")
            count = len(runs.due("tick"))
            eventually(lambda: len(runs.due("tick")) >= count + 2, within=30, what="and goes on")
        eventually(lambda: "standing by" in beats[first].output, within=30, what="the first has noticed")
        assert beats[second].stop(signal.SIGKILL) != 0
        count = len(runs.due("tick"))
        eventually(lambda: len(runs.due("tick")) >= count + 2, within=30, what="the first takes over again")
        assert beats[first].stop() == 0
    eventually(lambda: schedules.beat() is None, what="nobody leads")
    due = runs.due("tick")
    gaps = [later - earlier for earlier, later in pairwise(due)]
    assert set(gaps) <= {1, 2}
    assert gaps.count(2) <= 1, "a killed beat may have claimed a run and not sent it; nobody does so again"
    assert len({each["id"] for each in runs.headers}) == len(due)
    assert runs.bodies[0] == [["i-1"], {}]
    assert "Traceback" not in one.output + two.output


def test_missed_runs_are_what_each_schedule_wants(
    shop_turns: TakeTurns,
    beat: Callable[..., AbstractContextManager[Worker]],
    amqp: BlockingChannel,
    eventually: Eventually,
) -> None:
    """A beat that starts after two and a half hours without any: none, one for all, each, the last two of them."""
    schedules, runs = shop_turns.schedules, Runs(amqp)
    dues = {}
    for missed in ("skip", "once", "all"):
        schedules.create("acme", missed, "support.shop.work", every="1h", missed=missed)
        start = as_of(shop_turns, missed, 2.5 * HOUR).next_due_at
        assert start is not None
        dues[missed] = [start, start + HOUR, start + 2 * HOUR]
    with beat(TAKETURNS_SCHEDULES_MAX_MISSED="2"):
        names = tuple(dues)
        eventually(
            lambda: all((schedules.get("acme", name).next_due_at or 0) > time.time() for name in names),
            within=40,
            what="all are dealt with",
        )
    assert runs.due("skip") == []
    assert runs.due("once") == dues["once"][2:]
    assert runs.due("all") == dues["all"][1:]
    found = {name: schedules.get("acme", name) for name in names}
    assert (found["skip"].missed_at, found["skip"].last_due_at) == (dues["skip"][2], None)
    assert (found["once"].missed_at, found["once"].last_due_at) == (None, dues["once"][2])
    assert (found["all"].missed_at, found["all"].last_due_at) == (dues["all"][0], dues["all"][2])
    assert {each.next_due_at for each in found.values()} <= {due[2] + HOUR for due in dues.values()}
    assert found["once"].last_outcome == "submitted"


def test_beat_outlives_redis(
    shop_turns: TakeTurns,
    beat: Callable[..., AbstractContextManager[Worker]],
    settings: Settings,
    amqp: BlockingChannel,
    eventually: Eventually,
) -> None:
    """While it is away nothing is submitted; then beat goes on, and makes up for what was missed."""
    schedules, runs = shop_turns.schedules, Runs(amqp)
    schedules.create("acme", "tick", "support.shop.work", every="1s", missed="all")
    with running(settings.redis.redis_url) as proxy, beat(TAKETURNS_REDIS_URL=proxy.url) as this:
        eventually(lambda: len(runs.due("tick")) >= 2, within=40, what="two runs")
        proxy.stall()
        gone = "nothing is submitted while Redis is away"
        eventually(lambda: gone in this.output, within=30, what="it has noticed")
        proxy.drop()
        proxy.answer()
        count = len(runs.due("tick"))
        eventually(lambda: len(runs.due("tick")) >= count + 4, within=30, what="it goes on")
        assert this.stop() == 0
    due = runs.due("tick")
    assert [later - earlier for earlier, later in pairwise(due)] == [1] * (len(due) - 1)


def test_a_run_that_somebody_else_claimed_is_not_submitted(
    turns: TakeTurns, firing: Firing, amqp: BlockingChannel
) -> None:
    """However old what a beat has read: it was stopped between its reading and its claim, say."""
    turns.schedules.create("acme", "tick", "work", every="1h", args=["a"])
    read = as_of(turns, "tick", 1)
    assert firing._fire(read, read.next_due_at or 0, lambda: False)
    with pytest.raises(TaketurnsError):
        Firing(turns)._fire(read, read.next_due_at or 0, lambda: False)
    assert Runs(amqp).due("tick") == [read.next_due_at]


def test_what_became_of_a_claim_nobody_knows_is_unknown(
    turns: TakeTurns, firing: Firing, amqp: BlockingChannel
) -> None:
    """Whoever is killed between claim and confirm leaves a run that is not submitted again."""
    turns.schedules.create("acme", "tick", "work", every="1h", args=["a"], missed="all")
    read = as_of(turns, "tick", 1)
    due = read.next_due_at or 0
    firing._claim(read, due, due + HOUR, None)
    firing.look()
    assert Runs(amqp).due("tick") == []
    found = turns.schedules.get("acme", "tick")
    assert (found.last_outcome, found.last_due_at, found.next_due_at) == ("unknown", due, due + HOUR)


def test_what_a_full_backlog_refuses_is_submitted_later(
    turns: TakeTurns, firing: Firing, amqp: BlockingChannel
) -> None:
    """As missed runs are: with ``once`` it is due until there is room; and others go on."""
    turns.update("acme", max_backlog=1)
    for name in ("a", "b"):
        turns.schedules.create("acme", name, "work", every="1h", args=[name], missed="once")
        as_of(turns, name, 2 if name == "a" else 1)
    firing.look()
    refused = turns.schedules.get("acme", "b")
    assert (refused.last_outcome, refused.next_due_at) == ("refused", refused.last_due_at)
    assert "max_backlog is 1" in str(refused.last_error)
    assert refused.retry_at is not None
    assert Runs(amqp).take().bodies == [[["a"], {}]]
    turns.schedules.book.edit("acme", "b", lambda schedule, now: replace(schedule, retry_at=now))
    firing.look()
    assert Runs(amqp).due("b") == [refused.last_due_at]
    assert turns.schedules.get("acme", "b").last_outcome == "submitted"


def test_what_no_broker_takes_is_due_still(settings: Settings, nowhere: str) -> None:
    """Within its grace, or if it wants to be made up for; with ``skip`` it is left out after that."""
    own = replace(
        settings,
        broker=settings.broker.model_copy(update={"amqp_url": f"amqp://{nowhere}//", "publish_timeout": 0.5}),
    )
    with installed(own) as turns:
        turns.app.task(idle, base=TenantTask, name="work", shared=False)
        for name, missed in (("a", "skip"), ("b", "once")):
            turns.schedules.create("acme", name, "work", every="1h", missed=missed)  # type: ignore[arg-type]
            as_of(turns, name, 2)
        assert Firing(turns).look() > 0
        put_off = [each for each in turns.schedules.list("acme") if each.retry_at is not None]
        assert [(each.last_outcome, each.next_due_at) for each in put_off] == [
            ("refused", put_off[0].last_due_at)
        ]
        late = as_of(turns, "a", 100, retry_at=None)
        Firing(turns).look()
        left_out = turns.schedules.get("acme", "a")
        assert left_out.missed_at == late.next_due_at
        assert left_out.retry_at is None


def test_what_can_not_be_submitted_costs_the_others_nothing(
    turns: TakeTurns, firing: Firing, amqp: BlockingChannel
) -> None:
    """A task that is gone, a time zone that this machine does not know, a record that nobody can read."""
    for name in ("gone", "zone", "broken", "well"):
        turns.schedules.create("acme", name, "work", cron="* * * * *", args=["a"])
        as_of(turns, name, 70 if name == "zone" else 1)
    turns.schedules.book.edit("acme", "gone", lambda each, _: replace(each, task="nothing"))
    turns.schedules.book.edit("acme", "zone", lambda each, _: replace(each, timezone="Europe/Nowhere"))
    turns.store.call(lambda redis: redis.hset(turns.store.key("{.all}", "schedules", "acme"), "broken", "[]"))
    firing.look()
    assert len(Runs(amqp).due("well")) == 1
    gone, zone = (turns.schedules.get("acme", name) for name in ("gone", "zone"))
    assert (gone.last_outcome, gone.last_error) == ("failed", "beat knows no task 'nothing'")
    assert "Europe/Nowhere" in str(zone.last_error)
    assert zone.retry_at is not None


def test_a_run_goes_where_its_tenants_tasks_go(
    turns: TakeTurns, firing: Firing, amqp: BlockingChannel
) -> None:
    """A paused tenant's run waits; ``GET /tasks/{id}`` knows it, and its id follows from schedule and due time."""
    turns.pause("acme")
    turns.schedules.create("acme", "tick", "work", every="1h", args=["a"])
    as_of(turns, "tick", 1)
    firing.look()
    schedule = turns.schedules.get("acme", "tick")
    record = turns.records.get("acme", str(schedule.last_task_id))
    assert record is not None
    assert (record.tenant, record.name, record.queue) == ("acme", "work", "usersequence_acme")
    headers = Runs(amqp).take().headers[0]
    assert (headers["id"], headers["taketurns_tenant"]) == (record.id, "acme")
    assert headers["celery_beat_task"] is True


def test_schedules_are_created_changed_and_removed(turns: TakeTurns, work: Any) -> None:
    schedules = turns.schedules
    made = schedules.create(
        "acme", "nightly", "work", cron="30 2 * * *", timezone="Europe/Berlin", args=("a",)
    )
    assert schedules.get("acme", "nightly") == made
    assert made.args == ["a"]
    assert made.next_due_at is not None
    assert made.next_due_at > made.created_at
    with pytest.raises(ScheduleExists):
        schedules.create("acme", "nightly", "work", every="1s", args=["a"])
    changed = schedules.update("acme", "nightly", every="1h", missed="all")
    assert (changed.cron, changed.timezone, changed.every, changed.missed) == (None, None, "1h", "all")
    assert changed.next_due_at == changed.anchor + HOUR
    again = schedules.update("acme", "nightly", kwargs={}, args=["b"])
    assert again == replace(changed, args=["b"])
    assert schedules.pause("acme", "nightly").next_due_at is None
    assert turns.schedules.book.due(10).following is None
    assert schedules.resume("acme", "nightly").next_due_at is not None
    schedules.create("bolt", "other", "work", every="1s", args=["a"], paused=True)
    assert [(each.tenant, each.name) for each in schedules.list()] == [("acme", "nightly"), ("bolt", "other")]
    assert [each.name for each in schedules.list("bolt")] == ["other"]
    schedules.remove("acme", "nightly")
    for lost in (schedules.get, schedules.remove, schedules.pause):
        with pytest.raises(UnknownSchedule, match="tenant 'acme' has no schedule 'nightly'"):
            lost("acme", "nightly")
        with pytest.raises(UnknownSchedule):
            lost("acme", "\ud800")
    assert schedules.book.count() == 1


def test_each_run_has_the_priority_and_the_expiry_of_its_schedule(
    turns: TakeTurns, work: Any, amqp: BlockingChannel, firing: Firing
) -> None:
    """Which counts from its submission, however late that is; without them they are the task's own."""
    runs, schedules = Runs(amqp), turns.schedules
    schedules.create(
        "acme", "own", "work", every="1h", args=["a"], missed="once", priority="high", expires=600
    )
    schedules.create("acme", "plain", "work", every="1h", args=["b"], missed="once")
    for name in ("own", "plain"):
        as_of(turns, name, 1.5 * HOUR)
    firing.look()
    found = {each[SCHEDULE_HEADER]: each for each in runs.take().headers}
    expires = datetime.fromisoformat(found["own"]["expires"]).timestamp()
    assert time.time() + 500 < expires <= time.time() + 600
    assert found["plain"]["expires"] is None
    tasks = {name: turns.tasks.get("acme", headers["id"]) for name, headers in found.items()}
    assert {name: task.priority for name, task in tasks.items() if task} == {"own": "high", "plain": "normal"}
    changed = schedules.update("acme", "own", priority=None, expires=None)
    assert (changed.priority, changed.expires) == (None, None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "a/b"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"tenant": "a b"}, "tenant"),
        ({"task": "nothing"}, "task"),
        ({"task": None}, "task"),
        ({"every": "soon"}, "every"),
        ({"cron": "* * * * *"}, "cron"),
        ({"timezone": "UTC"}, "timezone"),
        ({"missed": "sometimes"}, "missed"),
        ({"paused": 1}, "paused"),
        ({"priority": "urgent"}, "priority"),
        ({"priority": 1}, "priority"),
        ({"expires": 0}, "expires"),
        ({"expires": True}, "expires"),
        ({"expires": float("nan")}, "expires"),
        ({"expires": "1h"}, "expires"),
        ({"expires": 366 * 86400 + 1}, "expires"),
        ({"args": ["a", "b"]}, "args"),
        ({"args": [object()]}, "args"),
        ({"args": "ab"}, "args"),
        ({"args": [float("nan")]}, "args"),
        ({"kwargs": {"colour": 1}}, "kwargs"),
        ({"kwargs": [1]}, "kwargs"),
        ({"args": ["x" * 70_000]}, "args"),
    ],
)
def test_what_is_no_schedule_names_its_field(
    changes: dict[str, Any], field: str, turns: TakeTurns, work: Any
) -> None:
    given = {"tenant": "acme", "name": "tick", "task": "work", "every": "1s", "args": ["a"], **changes}
    with pytest.raises(InvalidInput) as caught:
        turns.schedules.create(**given)
    assert caught.value.field == field
    assert turns.schedules.list() == []


def test_a_tenant_has_so_many_schedules_at_most(settings: Settings) -> None:
    few = replace(settings, schedules=settings.schedules.model_copy(update={"per_tenant": 2}))
    with installed(few) as turns:
        turns.app.task(idle, base=TenantTask, name="work", shared=False)
        for name in ("a", "b"):
            turns.schedules.create("acme", name, "work", every="1s")
        with pytest.raises(TooManySchedules, match="may have 2 schedules"):
            turns.schedules.create("acme", "c", "work", every="1s")
        turns.schedules.create("bolt", "c", "work", every="1s")


def test_a_removed_tenant_has_no_schedules(turns: TakeTurns, work: Any) -> None:
    """They go with it; while it can't be removed, they stay and are due."""
    due = turns.schedules.create("acme", "tick", "work", every="1h", args=["a"]).next_due_at
    turns.schedules.create("bolt", "tick", "work", every="1h", args=["a"])
    work.apply_async(("a",), tenant="acme")
    with pytest.raises(TenantInUse):
        turns.remove("acme")
    assert turns.schedules.book.due(10).following == due
    turns.remove("acme", force=True)
    assert [each.tenant for each in turns.schedules.list()] == ["bolt"]
    assert turns.remove("bolt") == 0
    with pytest.raises(UnknownTenant):
        turns.remove("bolt")


def test_entries_of_the_app_run_once_too(turns: TakeTurns, store: Store) -> None:
    """Of two beats that believe to lead, one may run an entry; who takes over knows when it ran last."""
    app = turns.app

    def entries() -> list[ScheduleEntry]:
        return [ScheduleEntry("nightly", "work", schedule=60.0, app=app)]

    ours, theirs = LastRuns(store, app.timezone), LastRuns(store, app.timezone)
    here, there = entries(), entries()
    ours.load(here)
    theirs.load(there)
    assert there[0].last_run_at == here[0].last_run_at
    ran = next(here[0])
    assert ours.advance(ran)
    assert not theirs.advance(next(there[0]))
    theirs.load(there)
    assert (there[0].last_run_at, there[0].total_run_count) == (ran.last_run_at, 1)
    again = next(there[0])
    assert theirs.advance(again)
    store.call(lambda redis: redis.delete(store.key("{.all}", "beat-entries")))
    assert not theirs.advance(next(again))
    theirs.load([again])
    assert theirs.advance(next(again)), "what a FLUSHALL has undone is no run of another beat"


def test_an_app_keeps_a_scheduler_of_its_own(settings: Settings) -> None:
    for own in (None, "shop.beat:Scheduler"):
        with Celery("own", set_as_current=False) as app:
            if own is not None:
                app.conf.beat_scheduler = own
            TakeTurns(app, settings).close()
            assert app.conf.beat_scheduler == (own or "taketurns.schedules.beat:TenantScheduler")
