"""Publishers and workers of the old code and of the new one side by side: each task runs, and once."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord

from support import old_shop
from support.publishing import close_stock
from support.workers import worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery

    from support.workers import Ledger, Worker
    from taketurns.settings import Settings

    Eventually = Callable[..., None]


@pytest.fixture
def old(settings: Settings) -> Iterator[Celery]:
    """A publisher of the old code: it knows the tasks by their names, and no tenants."""
    app = old_shop.build(settings.broker.amqp_url, settings.redis.redis_url)
    yield app
    close_stock(app)


@pytest.fixture
def new_worker(shop: Any, settings: Settings, tmp_path: Path) -> Iterator[Worker]:
    """A worker of the new code, which serves tenants and the old queue; acme is in the canary."""
    shop.turns.canary.set(percent=0, tenants=["acme"])
    with worker(
        settings, tmp_path, "-P", "threads", "-c", "2", "--prefetch-multiplier", "1", name="new"
    ) as this:
        yield this


@pytest.fixture
def old_worker(settings: Settings, tmp_path: Path) -> Iterator[Worker]:
    """A worker of the old code."""
    options = ("-P", "threads", "-c", "2")
    with worker(settings, tmp_path, *options, name="old", app="support.old_shop", serves=False) as this:
        yield this


def submit_the_old_way(app: Celery, label: str) -> list[str]:
    """Submit a bit of everything without a tenant; return the labels of the runs that must come of it."""

    def task(name: str, *args: Any) -> Any:
        return app.signature(f"support.shop.{name}", args=args, immutable=True)

    for number in range(10):
        task("work", f"{label}-{number}", 0.01).delay()
    task("work", f"{label}-later").apply_async(countdown=1)
    task("flaky", f"{label}-flaky").delay()
    task("parent", f"{label}-parent").delay()
    chain(task("work", f"{label}-c1"), task("flaky", f"{label}-c2"), task("work", f"{label}-c3")).delay()
    chord([task("work", f"{label}-h1"), task("work", f"{label}-h2")], task("work", f"{label}-body")).delay()
    return labels(label)


def submit(shop: Any, tenant: str, label: str) -> list[str]:
    """Submit the same for a tenant."""
    work, flaky = shop.work.for_tenant(tenant), shop.flaky.for_tenant(tenant)
    for number in range(10):
        work.apply_async((f"{label}-{number}", 0.01), priority="high" if number % 2 else None)
    work.apply_async((f"{label}-later",), countdown=1)
    flaky.delay(f"{label}-flaky")
    shop.parent.for_tenant(tenant).delay(f"{label}-parent")
    chain(work.si(f"{label}-c1"), flaky.si(f"{label}-c2"), work.si(f"{label}-c3")).delay()
    chord([work.si(f"{label}-h1"), work.si(f"{label}-h2")], work.si(f"{label}-body")).delay()
    return labels(label)


def labels(label: str) -> list[str]:
    ends = [
        *map(str, range(10)),
        "later",
        "flaky-0",
        "flaky-1",
        "parent",
        "parent-child",
        "c1",
        "c2-0",
        "c2-1",
    ]
    return [f"{label}-{end}" for end in [*ends, "c3", "h1", "h2", "body"]]


def test_old_and_new_publishers_and_workers_mix(
    shop: Any,
    old: Celery,
    new_worker: Worker,
    old_worker: Worker,
    ledger: Ledger,
    eventually: Eventually,
) -> None:
    """While tenants go in and out of the canary: nothing is lost, nothing runs twice."""
    canary = shop.turns.canary
    expected = submit_the_old_way(old, "old") + submit(shop, "acme", "in") + submit(shop, "bolt", "out")
    canary.set(percent=100)
    expected += submit_the_old_way(old, "old2") + submit(shop, "bolt", "in2")
    canary.set(percent=0, tenants=())
    expected += submit(shop, "acme", "out2")
    eventually(
        lambda: len(ledger) >= len(expected), within=60, what=lambda: set(expected) - set(ledger.labels())
    )
    assert Counter(ledger.labels()) == Counter(expected)

    ran = {row["label"]: row for row in ledger.rows()}
    at_once = {label: row for label, row in ran.items() if label.startswith("in-") and label[3:].isdigit()}
    assert {(row["worker"], row["tenant"]) for row in at_once.values()} == {(new_worker.name, "acme")}
    on_the_old_queue = [row for label, row in ran.items() if label.startswith(("old", "out"))]
    assert {row["worker"] for row in on_the_old_queue} == {new_worker.name, old_worker.name}
    of_nobody = {label for label, row in ran.items() if row["tenant"] is None}
    # What the old code submits itself, it submits as ever.
    assert of_nobody <= {label for label in expected if label.startswith("old") or label.endswith("-child")}
    for name in shop.turns.management.tenant_queues():
        assert shop.turns.publisher.waiting(name) == 0
    assert shop.turns.publisher.waiting("ordinary") == 0
    assert shop.turns.dead_letters.count() == 0


def test_a_tenant_outside_keeps_its_limits_on_workers_that_know_them(
    shop: Any, new_worker: Worker, ledger: Ledger, eventually: Eventually
) -> None:
    """The task itself asks the limiter, and is put off by Celery's own eta: once or twice, not each time."""
    shop.turns.registry.update("bolt", rate_limit="10/1s")
    for number in range(20):
        shop.work.apply_async((str(number),), tenant="bolt")
    eventually(lambda: len(ledger) >= 20, within=30)
    assert Counter(ledger.labels()) == Counter(map(str, range(20)))
    starts = sorted(row["started"] for row in ledger.rows())
    assert starts[-1] - starts[0] > 19 * 0.1 * 0.9 - 0.1
    put_off = new_worker.output.count("] ignored")
    assert 10 <= put_off <= 40, new_worker.output[-3000:]
    assert "usersequence_bolt" not in shop.turns.management.tenant_queues()


def test_a_limit_of_tasks_at_once_holds_outside_too(
    shop: Any, new_worker: Worker, ledger: Ledger, eventually: Eventually
) -> None:
    """Two slots, and one task at a time."""
    shop.turns.registry.update("bolt", max_concurrency=1)
    for number in range(4):
        shop.work.apply_async((str(number), 0.2), tenant="bolt")
    eventually(lambda: len(ledger) >= 4, within=30)
    rows = sorted(ledger.rows(), key=lambda row: row["started"])
    assert all(row["ended"] <= later["started"] for row, later in pairwise(rows))
    assert Counter(ledger.labels()) == Counter(map(str, range(4)))
