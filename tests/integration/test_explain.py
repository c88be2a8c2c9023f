"""Why a tenant's next task has not started: what is said, and what then happens."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from support.workers import worker
from taketurns.errors import InvalidTenant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.workers import Ledger, Worker
    from taketurns.settings import Settings

    Eventually = Callable[..., None]


@pytest.fixture
def running(shop: Any, settings: Settings, tmp_path: Path) -> Iterator[Worker]:
    """A worker with one slot, and tenants whose settings it knows."""
    shop.turns.registry.update("paused", paused=True)
    shop.turns.registry.update("limited", rate_limit="1/3s")
    shop.turns.registry.update("low-limited", priority_rate_limits={"low": "1/6s"})
    shop.turns.registry.update("capped", max_concurrency=1)
    with worker(settings, tmp_path, "-P", "threads", "-c", "1") as this:
        yield this


def starts_of(ledger: Ledger, label: str) -> list[float]:
    return [row["started"] for row in ledger.rows() if row["label"] == label]


def test_without_a_worker(shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path) -> None:
    """No worker serves it; as soon as one does, the task runs."""
    result = shop.work.apply_async(("x",), tenant="acme")
    found = shop.turns.explain("acme")
    assert (found.reason, found.ready, found.workers, found.silent) == ("no_worker", 1, [], [])
    with worker(settings, tmp_path, "-P", "solo"):
        assert result.get(timeout=20) == "x"
        assert shop.turns.explain("acme").reason == "queue_empty"


def test_an_empty_queue(running: Worker, shop: Any, eventually: Eventually) -> None:
    """Nothing waits of a tenant whose tasks have run; of one never heard of it is told that there is none."""
    assert shop.turns.explain("nobody").reason == "unknown"
    shop.work.apply_async(("x",), tenant="acme").get(timeout=20)
    eventually(lambda: shop.turns.explain("acme").running == 0)  # its result comes before its end
    found = shop.turns.explain("acme")
    assert (found.reason, found.ready, found.running) == ("queue_empty", 0, 0)
    assert found.workers == [running.name]


def test_a_paused_tenant(running: Worker, shop: Any, eventually: Eventually) -> None:
    """It is paused, though everybody else's tasks run; resumed it runs within a second."""
    result = shop.work.apply_async(("x",), tenant="paused")
    eventually(lambda: shop.turns.explain("paused").reason == "paused")
    shop.work.apply_async(("y",), tenant="other").get(timeout=20)
    assert shop.turns.explain("paused").reason == "paused"
    shop.turns.registry.update("paused", paused=False)
    assert result.get(timeout=5) == "x"


@pytest.mark.parametrize(("tenant", "options"), [("limited", {}), ("low-limited", {"priority": "low"})])
def test_a_throttled_tenant(
    tenant: str,
    options: dict[str, str],
    running: Worker,
    shop: Any,
    ledger: Ledger,
    eventually: Eventually,
) -> None:
    """It is throttled for so long, and starts then: when the limit lets it, not when others are looked for."""
    for label in ("first", "second"):
        shop.work.apply_async((label,), tenant=tenant, **options)
    eventually(lambda: shop.turns.explain(tenant).reason == "throttled")
    asked = time.time()
    found = shop.turns.explain(tenant)
    assert found.seconds is not None
    eventually(lambda: starts_of(ledger, "second"))
    assert starts_of(ledger, "second")[0] - asked == pytest.approx(found.seconds, abs=0.5)


def test_a_tenant_at_its_maximum(
    running: Worker, shop: Any, settings: Settings, tmp_path: Path, ledger: Ledger, eventually: Eventually
) -> None:
    """As many of its tasks run as may, though another worker has a slot; when one ends the next one starts."""
    with worker(settings, tmp_path, "-P", "threads", "-c", "1", name="w2"):
        shop.hold.apply_async(("held",), tenant="capped")
        eventually(
            lambda: shop.turns.explain("capped").running == 1
        )  # else the other worker may be the quicker one
        shop.work.apply_async(("next",), tenant="capped")
        eventually(lambda: shop.turns.explain("capped").reason == "concurrency")
        assert not ledger.labels()
        ledger.let_go()
        eventually(lambda: ledger.labels() == ["held", "next"])
    held, following = ledger.rows()
    assert following["started"] >= held["ended"]


def test_what_ran_before_there_was_a_maximum_counts(
    shop: Any, settings: Settings, tmp_path: Path, ledger: Ledger, eventually: Eventually
) -> None:
    """A maximum that is set while tasks run keeps the next one until one of them ends, though a slot is free."""
    with worker(settings, tmp_path, "-P", "threads", "-c", "2"):
        shop.hold.apply_async(("held",), tenant="acme")
        eventually(lambda: shop.turns.explain("acme").running == 1)
        shop.turns.registry.update("acme", max_concurrency=1)
        eventually(lambda: len(shop.turns.limiter.running("acme")) == 1)
        shop.work.apply_async(("next",), tenant="acme")
        eventually(lambda: shop.turns.explain("acme").reason == "concurrency")
        assert shop.turns.explain("acme").message == "1 of its tasks run, and at most 1 may"
        assert not ledger.labels()
        ledger.let_go()
        eventually(lambda: ledger.labels() == ["held", "next"])
        eventually(lambda: not shop.turns.limiter.running("acme"))


def test_a_tenant_that_waits_for_its_turn(
    running: Worker, shop: Any, ledger: Ledger, eventually: Eventually
) -> None:
    """So many tenants come first, and it starts after about so many seconds."""
    for number in range(5):
        shop.work.apply_async((f"warm {number}", 0.2), tenant=f"t{number}").get(timeout=20)
    shop.work.apply_async(("busy", 1.5), tenant="busy")
    eventually(lambda: shop.turns.explain("busy").running == 1)
    for number in range(5):
        for _ in range(2):
            shop.work.apply_async((f"t{number}", 0.2), tenant=f"t{number}")
    last = shop.work.apply_async(("last",), tenant="last")
    eventually(lambda: shop.turns.explain("last").reason == "waiting_for_turn")
    asked = time.time()
    found = shop.turns.explain("last")
    assert found.position is not None
    assert found.seconds is not None
    assert 0 <= found.position <= 5
    last.get(timeout=20)
    assert starts_of(ledger, "last")[0] - asked == pytest.approx(found.seconds, abs=2)


def test_a_silent_worker_is_named_within_a_second(running: Worker, shop: Any) -> None:
    """A worker that does not answer is named, and not waited for longer than a moment."""
    shop.work.apply_async(("x",), tenant="acme").get(timeout=20)
    running.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        found = shop.turns.explain("acme")
        took = time.monotonic() - began
    finally:
        running.process.send_signal(signal.SIGCONT)
    assert found.silent == [running.name]
    assert took < 2, "the promised second, and another for a busy machine"


def test_messages_on_their_way_are_not_taken_for_nothing(
    running: Worker, shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker looks at a throttled queue now and then: RabbitMQ may be asked while the messages are with it."""
    first, *_ = [shop.work.apply_async((label,), tenant="limited") for label in ("x", "y", "z")]
    first.get(timeout=20)
    ask, asked = shop.turns.management.queue, []

    def meet_a_look(queue: str) -> Any:
        found = ask(queue)
        asked.append(found)
        return replace(found, ready=0, unacknowledged=found.ready) if len(asked) == 1 else found

    monkeypatch.setattr(shop.turns.management, "queue", meet_a_look)
    found = shop.turns.explain("limited")
    assert found.reason == "throttled"
    assert found.ready
    assert len(asked) == 2


def test_what_a_silent_worker_holds_is_not_taken_for_nothing(
    running: Worker, shop: Any, eventually: Eventually
) -> None:
    """The queue is empty, but its tasks have not run: they are in the hand of a worker that hangs."""
    results = [shop.work.apply_async((f"x{n}", 0.5), tenant="acme") for n in range(4)]
    eventually(lambda: (info := shop.turns.management.queue("usersequence_acme")) and info.ready == 0)
    running.process.send_signal(signal.SIGSTOP)
    try:
        found = shop.turns.explain("acme")
    finally:
        running.process.send_signal(signal.SIGCONT)
    assert found.reason == "no_worker"
    assert "of its tasks run or wait on workers that don't answer" in found.message
    assert found.silent == [running.name]
    assert [result.get(timeout=20) for result in results] == [f"x{n}" for n in range(4)]


def test_places_that_silent_workers_hold_are_told_from_those_of_tasks_that_come_and_go(
    running: Worker, shop: Any, settings: Settings, tmp_path: Path, ledger: Ledger, eventually: Eventually
) -> None:
    """One that hangs holds what it runs, and nothing else; though each look meets other tasks of the others."""
    shop.turns.registry.update("capped", max_concurrency=2)
    shop.hold.apply_async(("held",), tenant="capped")
    eventually(lambda: len(shop.turns.limiter.running("capped")) == 1)
    with worker(settings, tmp_path, "-P", "threads", "-c", "2", name="w2"):
        results = [shop.work.apply_async((f"x{n}", 0.05), tenant="capped") for n in range(200)]
        running.process.send_signal(signal.SIGSTOP)
        try:
            eventually(lambda: "; 1 on workers that don't answer" in shop.turns.explain("capped").message)
            ledger.let_go()
            shop.turns.registry.update("other", max_concurrency=2)
            for n in range(200):
                shop.work.apply_async((f"y{n}", 0.05), tenant="other")
            eventually(lambda: shop.turns.explain("other").reason == "concurrency")
            told = [shop.turns.explain("other").message for _ in range(4)]
        finally:
            running.process.send_signal(signal.SIGCONT)
        assert not [message for message in told if "answer" in message]
        assert results[-1].get(timeout=30) == "x199"


def test_a_bad_tenant_id_is_refused(shop: Any) -> None:
    """What is no tenant id is told at once."""
    with pytest.raises(InvalidTenant):
        shop.turns.explain("../x")
