"""The canary: where a tenant's tasks go that is outside of it, and what becomes of them there."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import Retry
from kombu import Queue

from support.canvas import build
from support.outages import without_redis
from support.publishing import close
from taketurns import TakeTurns
from taketurns.errors import (
    BrokerUnavailable,
    InvalidInput,
    MissingTenant,
    RegistryUnavailable,
    TaketurnsError,
)
from taketurns.limits.limiter import Admission, Limits
from taketurns.limits.put_offs import PutOffs
from taketurns.limits.rate import parse_rate
from taketurns.migration.canary import Canary
from taketurns.settings import CanarySettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery
    from pika.adapters.blocking_connection import BlockingChannel

    from taketurns.settings import Settings
    from taketurns.store import Store

    Eventually = Callable[..., None]


@pytest.fixture
def app(settings: Settings) -> Iterator[Celery]:
    """An app with acme in the canary, and nobody else."""
    app = build(replace(settings, canary=CanarySettings(tenants="acme")))
    yield app
    close(app)


def take(amqp: BlockingChannel, queue: str) -> tuple[Any, Any, Any]:
    """Take one message, which must be there."""
    method, properties, body = amqp.basic_get(queue, auto_ack=True)
    assert method is not None, f"nothing in {queue}"
    assert body is not None
    return method, properties, json.loads(body)


def test_who_is_out_has_its_tasks_where_they_were_before(app: Celery, amqp: BlockingChannel) -> None:
    """By the app's routes, or into its default queue; with the tenant in a header; no queue is made."""
    for tenant, name, queue in [
        ("bolt", "note", "elsewhere"),
        ("bolt", "fail", "ordinary"),
        ("acme", "note", "usersequence_acme"),
    ]:
        result = app.tasks[name].apply_async(("a",), tenant=tenant)
        method, properties, body = take(amqp, queue)
        assert (properties.headers["id"], properties.headers["taketurns_tenant"]) == (result.id, tenant)
        assert (properties.delivery_mode, body[0]) == (2, ["a"])
        assert method.routing_key == queue
    assert "usersequence_bolt" not in TakeTurns.of(app).management.queues()


def test_who_is_out_may_choose_a_queue_as_ever(app: Celery, amqp: BlockingChannel) -> None:
    """What the call says, or a queue of task_routes; who is in is refused that."""
    app.tasks["note"].apply_async(("a",), tenant="bolt", queue="special")
    take(amqp, "special")
    with pytest.raises(TaketurnsError, match="leave out queue"):
        app.tasks["note"].apply_async(("a",), tenant="acme", queue="special")


def test_a_delay_of_who_is_out_is_celerys_own(app: Celery, amqp: BlockingChannel) -> None:
    """The message is in the old queue at once and says when it is due; a worker waits for it."""
    eta = datetime.now(UTC) + timedelta(days=60)
    for options in ({"countdown": 60 * 86400}, {"eta": eta}):
        app.tasks["fail"].apply_async(("a",), tenant="bolt", **options)
        headers = take(amqp, "ordinary")[1].headers
        assert abs(datetime.fromisoformat(headers["eta"]) - eta) < timedelta(seconds=30)
        assert not [name for name in headers if name.startswith("taketurns_d")]


@pytest.mark.parametrize(
    ("given", "app_has", "on_the_wire"),
    [(None, None, 0), (None, 3, 3), ("high", 3, 2), (0, 3, 0), (7, None, 7)],
)
def test_priorities_of_who_is_out_are_those_of_the_app(
    given: Any, app_has: int | None, on_the_wire: int | None, app: Celery, amqp: BlockingChannel
) -> None:
    """Those that tenant queues have by default would overtake what the app's other publishers send."""
    app.conf.task_default_priority = app_has
    app.tasks["fail"].apply_async(("a",), tenant="bolt", priority=given)
    assert take(amqp, "ordinary")[1].priority == on_the_wire
    with pytest.raises(InvalidInput, match="priority: 'urgent'"):
        app.tasks["fail"].apply_async(("a",), tenant="bolt", priority="urgent")


def test_what_is_submitted_the_old_way_is_confirmed(app: Celery) -> None:
    """A queue that takes no more is an error at the call, and not a task that is gone."""
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    app.amqp.queues.add(Queue("full", queue_arguments=arguments))
    note = app.tasks["note"]
    note.apply_async(("a",), tenant="bolt", queue="full")
    with pytest.raises(BrokerUnavailable):
        note.apply_async(("b",), tenant="bolt", queue="full")


def retry(app: Celery, tenant: str | None, came_by: dict[str, Any]) -> None:
    """Have a task whose message came by this way be tried again at once."""
    headers = {} if tenant is None else {"taketurns_tenant": tenant}
    twice = app.tasks["twice"]
    twice.push_request(
        id="1",
        args=["a"],
        kwargs={},
        retries=0,
        headers=headers,
        delivery_info={"redelivered": False, **came_by},
        called_directly=False,
    )
    try:
        with pytest.raises(Retry):
            twice.retry(countdown=0)
    finally:
        twice.pop_request()


@pytest.mark.parametrize(
    ("came_by", "goes_to"),
    [
        ({"exchange": "", "routing_key": "special"}, "special"),
        ({"exchange": "usersequence", "routing_key": "usersequence_bolt"}, "ordinary"),
        ({"exchange": "", "routing_key": "usersequence_bolt"}, "ordinary"),
    ],
)
def test_a_retry_of_who_is_out_goes_back_where_its_message_came_from(
    came_by: dict[str, Any], goes_to: str, app: Celery, amqp: BlockingChannel
) -> None:
    """Unless that was its tenant's queue, since it was in the canary then."""
    retry(app, "bolt", came_by)
    headers = take(amqp, goes_to)[1].headers
    assert (headers["id"], headers["retries"], headers["taketurns_tenant"]) == ("1", 1, "bolt")


def test_a_retry_of_who_is_in_goes_into_its_queue_from_an_old_one(app: Celery, amqp: BlockingChannel) -> None:
    """A message of an old queue has a destination of its own, which nobody has chosen in this call."""
    retry(app, "acme", {"exchange": "", "routing_key": "special", "priority": 0})
    properties = take(amqp, "usersequence_acme")[1]
    assert (properties.headers["retries"], properties.priority) == (
        1,
        1,
    )  # 0 is what a task without one has there


def test_what_had_no_tenant_goes_on_without_one(app: Celery, amqp: BlockingChannel) -> None:
    """A message of an old publisher: its retry, the rest of its chain, and what it submits; a new call is refused."""
    retry(app, None, {"exchange": "", "routing_key": "special"})
    assert "taketurns_tenant" not in take(amqp, "special")[1].headers
    app.tasks["fail"].apply_async(("a",), root_id="0", parent_id="0")
    assert "taketurns_tenant" not in take(amqp, "ordinary")[1].headers
    with pytest.raises(MissingTenant):
        app.tasks["fail"].apply_async(("a",))


def test_what_follows_keeps_its_tenant_through_workers_that_know_of_none(
    app: Celery, amqp: BlockingChannel
) -> None:
    """The rest of a chain has it as a header too, which stock Celery sends along."""
    fail, note = app.tasks["fail"], app.tasks["note"]
    own = fail.si("c").set(tenant="own", headers={"trace": "t-1"})
    fail.apply_async(("a",), tenant="bolt", link=[note.si("b"), own])
    _, _, (_, _, embedded) = take(amqp, "ordinary")
    options = [step["options"] for step in embedded["callbacks"]]
    assert [(each["tenant"], each["headers"]) for each in options] == [
        ("bolt", {"taketurns_tenant": "bolt"}),
        ("own", {"taketurns_tenant": "own", "trace": "t-1"}),
    ]


def test_a_change_for_all_processes_applies_within_a_second(
    app: Celery, amqp: BlockingChannel, settings: Settings, eventually: Eventually
) -> None:
    """What one process sets another one goes by, before its settings; unset, the settings hold again."""
    here, there = TakeTurns.of(app).canary, TakeTurns.of(other := build(settings)).canary
    assert (here.has("bolt"), there.has("bolt"), here.read()) == (False, True, None)
    assert there.set(percent=0, tenants=["bolt"]) == Canary(0, frozenset({"bolt"}))
    assert (there.has("acme"), there.has("bolt")) == (False, True)
    eventually(lambda: (here.has("acme"), here.has("bolt")) == (False, True), within=3)
    assert there.set(excluded={"bolt"}) == Canary(0, frozenset({"bolt"}), frozenset({"bolt"}))
    assert not there.has("bolt")
    assert there.unset() == Canary()
    assert there.has("acme")
    eventually(lambda: (here.has("acme"), here.has("bolt")) == (True, False), within=3)
    with pytest.raises(
        InvalidInput, match="tenants: 'acme' is not valid; accepted is a list or set of tenants"
    ):
        here.set(tenants="acme")
    close(other)


def test_without_redis_the_settings_hold_or_what_was_last_read(settings: Settings, nowhere: str) -> None:
    """A submission goes somewhere in any case."""
    app = build(replace(without_redis(settings, nowhere), canary=CanarySettings(percent=0, tenants="acme")))
    canary = TakeTurns.of(app).canary
    assert (canary.has("acme"), canary.has("bolt")) == (True, False)
    with pytest.raises(RegistryUnavailable):
        canary.set(percent=10)
    close(app)


def test_an_explanation_says_who_is_outside(app: Celery) -> None:
    """Nothing of it waits in its queue, since its tasks go elsewhere; what still waits there is explained as ever."""
    turns = TakeTurns.of(app)
    assert turns.explain("bolt").reason == "outside_canary"
    assert turns.explain("acme").reason == "unknown"
    app.tasks["note"].apply_async(("a",), tenant="acme")
    turns.canary.set(tenants=())
    assert turns.explain("acme").reason == "no_worker"


def test_put_off_tasks_come_back_one_after_another(store: Store) -> None:
    """As the limit would space them; and never later than in ten minutes, since a limit may change."""
    put_offs = PutOffs(store)
    rate = Limits(tenant_rate=parse_rate("10/1s"))
    refusal = Admission(admitted=False, retry_after=0.05, reason="tenant_rate")
    waits = [put_offs.seconds("acme", "work", rate, refusal) for _ in range(20)]
    assert waits[0] == pytest.approx(0.05)
    gaps = [later - earlier for earlier, later in pairwise(waits)]
    assert all(0 < gap <= 0.1 for gap in gaps)  # less the time between the two calls
    assert put_offs.seconds("bolt", "work", rate, refusal) == pytest.approx(0.05)
    slow = Limits(tenant_rate=parse_rate("1/1h"))
    hourly = Admission(admitted=False, retry_after=5.0, reason="tenant_rate")
    later = [put_offs.seconds("slow", "work", slow, hourly) for _ in range(3)]
    assert later == [pytest.approx(5.0), 600.0, 600.0]
    busy = Limits(max_concurrency=5)
    refused = Admission(admitted=False, retry_after=0.25, reason="concurrency")
    assert put_offs.seconds("busy", "work", busy, refused) == pytest.approx(0.25)
    assert put_offs.seconds("busy", "work", busy, refused) == pytest.approx(0.3, abs=0.05)
