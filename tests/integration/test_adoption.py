"""Adopting an old queue: its backlog is split by the resolver, and what is nobody's stays there."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery, chain

from support.canvas import write
from support.publishing import close, close_stock
from support.workers import worker
from taketurns import TakeTurns, TenantTask
from taketurns.errors import InvalidInput, NoSuchQueue
from taketurns.migration.adoption import adopt
from taketurns.resolving import Tenancy
from taketurns.tenant_key import TenantKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from support.workers import Ledger
    from taketurns.progress import Step
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

LABELS = [str(number) for number in range(20)]


def by_label(task: str, args: Sequence[Any], kwargs: Mapping[str, Any], headers: Mapping[str, Any]) -> Any:
    """Tell the tenant by the label: acme-1 is acme's."""
    if "broken" in args:
        raise ValueError("broken")
    if "wrong" in args:
        return "no tenant id"
    return str(args[0]).split("-")[0] if args and "-" in str(args[0]) else None


@pytest.fixture
def old(settings: Settings) -> Iterator[Celery]:
    """A publisher of the old code; with confirms, or another connection's messages could come before its own."""
    app = Celery("old", broker=settings.broker.amqp_url, set_as_current=False)
    app.conf.update(
        task_default_queue="ordinary",
        task_create_missing_queue_type="classic",
        broker_transport_options={"confirm_publish": True},
    )
    yield app
    close_stock(app)


@pytest.fixture
def turns(settings: Settings) -> Iterator[TakeTurns]:
    """The extension of an app with a resolver, a tenants' task and an ordinary one."""
    app = Celery("new", set_as_current=False)
    app.conf.task_default_queue = "ordinary"
    turns = TakeTurns(app, settings, tenant_resolver=by_label)
    app.task(base=TenantTask, name="work", shared=False)(write)
    app.task(name="plain", shared=False)(write)
    yield turns
    close(app)


def send(old: Celery, *labels: str, task: str = "work", **options: Any) -> None:
    for label in labels:
        old.send_task(task, (label,), **options)


def taken(amqp: BlockingChannel, queue: str) -> list[tuple[str, Any]]:
    """Empty a queue; return the first argument of each message, and its properties."""
    found = []
    while (message := amqp.basic_get(queue, auto_ack=True))[0] is not None:
        found.append((json.loads(message[2] or b"")[0][0], message[1]))
    return found


def test_each_task_goes_into_its_tenants_queue(turns: TakeTurns, old: Celery, amqp: BlockingChannel) -> None:
    """In its order and as it was, with the tenant in a header; the tenant is active from then on."""
    send(old, "acme-1", "bolt-1", "acme-2")
    send(old, "acme-3", priority=7, headers={"trace": "t-1"}, task_id="its-id")
    adopted = adopt(turns, "ordinary")
    assert (adopted.moved, adopted.stayed) == ({"acme": 3, "bolt": 1}, {})
    acme = taken(amqp, "usersequence_acme")
    assert [label for label, _ in acme] == ["acme-3", "acme-1", "acme-2"]
    assert [properties.priority for _, properties in acme] == [2, 1, 1]
    headers = acme[0][1].headers
    assert (headers["id"], headers["trace"], headers["taketurns_tenant"]) == ("its-id", "t-1", "acme")
    assert acme[0][1].delivery_mode == 2
    assert {label for label, _ in taken(amqp, "usersequence_bolt")} == {"bolt-1"}
    assert {"acme", "bolt"} <= set(turns.registry.activity())
    assert turns.publisher.waiting("ordinary") == 0


def test_what_is_no_tenants_stays_in_its_place(turns: TakeTurns, old: Celery, amqp: BlockingChannel) -> None:
    """Each with the reason; and so does what a tenant outside of the canary has there."""
    turns.canary.set(excluded={"carl"})
    send(old, "nobody", "acme-1", "broken", "wrong", "carl-1")
    send(old, "acme-2", task="plain")
    send(old, "acme-3", task="unheard.of")
    send(old, "acme-4", serializer="pickle")
    amqp.basic_publish("", "ordinary", b"[[1]")
    adopted = adopt(turns, "ordinary")
    assert adopted.moved == {"acme": 1}
    assert adopted.stayed == {
        ("no_tenant", "work"): 1,
        ("resolver_failed", "work"): 2,
        ("outside_canary", "work"): 1,
        ("ordinary_task", "plain"): 1,
        ("unknown_task", "unheard.of"): 1,
        ("undecodable", "work"): 1,
        ("undecodable", ""): 1,
    }
    assert "by_label failed" in adopted.details["resolver_failed", "work"]
    assert "python-serialize" in adopted.details["undecodable", "work"]
    assert turns.publisher.waiting("ordinary") == 8
    first = amqp.basic_get("ordinary", auto_ack=True)
    assert json.loads(first[2] or b"")[0] == ["nobody"]
    assert adopt(turns, "ordinary").moved == {}


def test_a_dry_run_moves_nothing(turns: TakeTurns, old: Celery, amqp: BlockingChannel) -> None:
    """It says what would go where."""
    send(old, "acme-1", "nobody")
    adopted = adopt(turns, "ordinary", dry_run=True)
    assert (adopted.moved, adopted.stayed) == ({"acme": 1}, {("no_tenant", "work"): 1})
    assert [label for label, _ in taken(amqp, "ordinary")] == ["acme-1", "nobody"]
    assert "usersequence_acme" not in turns.management.queues()


def test_it_ends_with_what_was_there_at_the_beginning(turns: TakeTurns, old: Celery) -> None:
    """Old publishers may go on."""
    send(old, "acme-1", "acme-2")
    assert adopt(turns, "ordinary", progress=lambda _: send(old, "acme-3")).moved == {"acme": 2}
    assert turns.publisher.waiting("ordinary") == 3


def test_nothing_is_lost_or_doubled_when_it_is_stopped(
    turns: TakeTurns, old: Celery, amqp: BlockingChannel
) -> None:
    """Between two tasks; what was passed and not moved is in its place again too."""
    send(old, *(f"acme-{label}" if int(label) % 2 else label for label in LABELS))

    def stop(step: Step) -> None:
        if step.passed == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adopt(turns, "ordinary", progress=stop)
    assert [label for label, _ in taken(amqp, "usersequence_acme")] == [f"acme-{n}" for n in (1, 3, 5, 7, 9)]
    assert turns.publisher.waiting("ordinary") == 15


def test_an_owners_task_goes_to_its_tenant(turns: TakeTurns, old: Celery, amqp: BlockingChannel) -> None:
    """As it would if it were submitted now, with both in headers."""
    turns.tenancy = Tenancy(by_label, key=TenantKey(lambda _: "house"))
    send(old, "acme-1", "bolt-1")
    assert adopt(turns, "ordinary").moved == {"house": 2}
    owners = [properties.headers["taketurns_owner"] for _, properties in taken(amqp, "usersequence_house")]
    assert owners == ["acme", "bolt"]


def test_a_queue_that_is_missing_or_ours_is_refused(turns: TakeTurns) -> None:
    """With an error that names it."""
    with pytest.raises(NoSuchQueue, match="no queue 'celery'"):
        adopt(turns, "celery")
    with pytest.raises(InvalidInput, match="queue: 'usersequence_acme' is not valid"):
        adopt(turns, "usersequence_acme")


def test_a_worker_runs_what_was_adopted(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually, old: Celery
) -> None:
    """Each once, a delayed one when it is due, and the rest of a chain for the same tenant."""
    shop.turns.tenancy = Tenancy(by_label)

    def work(label: str, **options: Any) -> Any:
        return old.signature("support.shop.work", (label,), immutable=True, options=options)

    for number in range(5):
        work(f"acme-{number}").apply_async()
    due = datetime.now(UTC) + timedelta(seconds=5)
    work("acme-later", eta=due).apply_async()
    work("acme-past", countdown=-5).apply_async()
    old.signature("support.shop.flaky", ("acme-flaky",)).apply_async()
    chain(work("acme-c1"), work("c2")).apply_async()
    assert adopt(shop.turns, "ordinary").moved == {"acme": 9}
    expected = [f"acme-{end}" for end in (*range(5), "later", "past", "flaky-0", "flaky-1", "c1")] + ["c2"]
    with worker(settings, tmp_path, "-P", "threads", "-c", "2"):
        eventually(lambda: len(ledger) >= len(expected), within=30, what=ledger.labels)
    assert Counter(ledger.labels()) == Counter(expected)
    rows = {row["label"]: row for row in ledger.rows()}
    assert {row["tenant"] for row in rows.values()} == {"acme"}
    assert rows["acme-later"]["started"] >= due.timestamp()
