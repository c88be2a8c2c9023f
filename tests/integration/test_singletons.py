"""Tasks of which one runs at a time, and locks in tasks: with real workers, in every pool."""

from __future__ import annotations

import itertools
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import TaskRevokedError

from support.proxy import running
from support.workers import worker
from taketurns.locks.singleton import lock_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from support.workers import Ledger
    from taketurns.locks.locks import LockName
    from taketurns.settings import Settings

    Eventually = Callable[..., None]


def overlaps(rows: Iterable[dict[str, Any]]) -> bool:
    """Tell whether any of these ran beside another one."""
    in_order = sorted(rows, key=lambda row: float(row["started"]))
    return any(before["ended"] > after["started"] for before, after in itertools.pairwise(in_order))


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_one_runs_at_a_time_for_each_tenant(
    pool: str, shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """On two workers; all of them run, once, and those that wait use up no retry. A lock in a task does the same."""
    with ExitStack() as stack:
        for name in ("w1", "w2"):
            stack.enter_context(worker(settings, tmp_path, "-P", pool, "-c", "2", name=name))
        results = [
            shop.locked.apply_async((f"l{tenant}", 0.2), tenant=tenant)
            for tenant in ("acme", "acme", "acme", "bolt")
        ]
        for number in range(4):
            shop.alone.apply_async((f"a{number}", 0.3), tenant="acme")
        shop.alone.apply_async(("b0", 0.3), tenant="bolt")
        eventually(lambda: len(ledger) == 9, within=30)
        fences = [result.get(timeout=10) for result in results]
    rows = ledger.rows()
    assert sorted(row["label"] for row in rows) == ["a0", "a1", "a2", "a3", "b0", *["lacme"] * 3, "lbolt"]
    assert not overlaps(row for row in rows if row["label"].startswith("a"))
    assert not overlaps(row for row in rows if row["label"] == "lacme")
    assert len(set(fences[:3])) == 3
    assert shop.turns.dead_letters.count() == 0


def test_one_that_waits_takes_no_slot_and_keeps_nobody_waiting(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """Its tenant's other tasks run beside the one that runs, in the slot that is left; the next one follows soon."""
    with worker(settings, tmp_path, "-P", "threads", "-c", "2"):
        for label in ("first", "second", "third"):
            shop.hold_alone.apply_async((label,), tenant="acme")
        for number in range(10):
            shop.work.apply_async((f"w{number}",), tenant="acme")
        eventually(lambda: len(ledger) == 10, within=20)
        assert all(label.startswith("w") for label in ledger.labels())
        for number in (11, 12, 13):
            ledger.let_go()
            eventually(lambda number=number: len(ledger) == number, within=20)
    assert sorted(ledger.labels()[10:]) == ["first", "second", "third"]
    assert not overlaps(ledger.rows()[10:])


def test_many_short_ones_follow_each_other_closely(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """They keep their places in the queue, since the one that runs is over soon, also on two workers."""
    with ExitStack() as stack:
        for name in ("w1", "w2"):
            stack.enter_context(worker(settings, tmp_path, "-c", "2", name=name))
        for number in range(100):
            shop.alone.apply_async((str(number), 0.01), tenant="acme")
        eventually(lambda: len(ledger) == 100, within=40)
    rows = ledger.rows()
    assert not overlaps(rows)
    assert rows[-1]["ended"] - rows[0]["started"] < 12
    assert len({row["id"] for row in rows}) == 100


def test_the_lock_of_a_killed_worker_is_free_after_a_while(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """Its task comes back and waits until then, as does another one; both run, one after the other."""
    lease: Any = {"TAKETURNS_LIMITER_LEASE": "3"}
    with worker(settings, tmp_path, "-c", "1", name="w1", **lease) as first:
        shop.hold_alone.apply_async(("first",), tenant="acme")
        eventually(lambda: shop.turns.status().running == 1, within=20)
        first.stop(signal.SIGKILL)
        with worker(settings, tmp_path, "-c", "2", name="w2", **lease):
            shop.hold_alone.apply_async(("second",), tenant="acme")
            for number in (1, 2):
                ledger.let_go()
                eventually(lambda number=number: len(ledger) == number, within=30)
    assert sorted(ledger.labels()) == ["first", "second"]
    assert not overlaps(ledger.rows())


def test_a_task_that_exceeds_its_time_limit_gives_its_lock_up(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """At once, long before the lock would expire."""
    with worker(settings, tmp_path, "-c", "2"):
        shop.hold_alone.apply_async(("killed",), tenant="acme", time_limit=1)
        eventually(lambda: shop.turns.status().running == 1, within=20)
        shop.alone.apply_async(("other",), tenant="acme")  # has a lock of its own
        shop.hold_alone.apply_async(("next",), tenant="acme")
        eventually(lambda: shop.turns.dead_letters.count() == 1, within=20)
        ledger.let_go()
        ledger.let_go()  # the killed one may have taken the first
        eventually(lambda: sorted(ledger.labels()) == ["next", "other"], within=10)


def test_one_that_kills_its_process_each_time_becomes_a_dead_letter_soon(
    shop: Any, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """The worker gives the lock of a dead process up: nobody waits until it expires."""
    with worker(settings, tmp_path, "-c", "1", TAKETURNS_WORKER_MAX_STARTS="2"):
        shop.die_alone.apply_async(("x",), tenant="acme")
        eventually(lambda: shop.turns.dead_letters.count() == 1, within=40)
    assert shop.turns.dead_letters.list()[0].cause == "crash_loop"


def test_one_that_kills_its_worker_each_time_becomes_a_dead_letter(
    shop: Any, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """That it is put off in between, by its own old lock, does not hide how often it was started."""
    variables: Any = {"TAKETURNS_WORKER_MAX_STARTS": "2", "TAKETURNS_LIMITER_LEASE": "12"}
    shop.die_alone.apply_async(("x",), tenant="acme")
    for name in ("w1", "w2"):
        with worker(settings, tmp_path, "-P", "solo", name=name, **variables) as dies:
            assert dies.process.wait(40) == -signal.SIGKILL
    with worker(settings, tmp_path, "-P", "solo", name="w3", **variables):
        eventually(lambda: shop.turns.dead_letters.count() == 1, within=40)
    assert shop.turns.dead_letters.list()[0].cause == "crash_loop"


def test_none_starts_while_redis_is_away(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """It waits, as one that is to be dropped does too; others of its tenant's run, and it does when Redis is back."""
    with running(settings.redis.redis_url) as proxy:
        variables: Any = {"TAKETURNS_REDIS_URL": proxy.url, "SHOP_RESULTS": settings.redis.redis_url}
        with worker(settings, tmp_path, "-P", "threads", "-c", "2", **variables) as away:
            proxy.silence()
            waiting = (
                shop.alone.apply_async(("a",), tenant="acme"),
                shop.once.apply_async(("o",), tenant="acme"),
            )
            assert shop.add.apply_async((1, 2), tenant="acme").get(timeout=20) == 3
            assert not any(f"{each.id}] received" in away.output for each in waiting)
            proxy.drop()
            eventually(lambda: sorted(ledger.labels()) == ["a", "o"], within=20)


def test_a_second_one_with_the_same_arguments_is_dropped_if_so_declared(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """Its state says so, and its message is gone; with other arguments, or of another tenant, it runs."""
    with worker(settings, tmp_path, "-P", "threads", "-c", "4") as busy:
        for label, tenant in (("x", "acme"), ("y", "acme"), ("x", "bolt")):
            shop.hold_once.apply_async((label,), tenant=tenant)
        eventually(lambda: shop.turns.status().running == 3, within=20)
        second = shop.hold_once.apply_async(("x",), tenant="acme")
        with pytest.raises(
            TaskRevokedError, match=r"dropped: another .*hold_once with these arguments of acme"
        ):
            second.get(timeout=10)
        assert second.state == "REVOKED"
        assert f"[{second.id}] is dropped" in busy.output
        eventually(lambda: shop.turns.tasks.get("acme", second.id).stored == "CANCELLED")
        kind, why = shop.turns.tasks.get("acme", second.id).error
        assert (kind, why.endswith("hold_once with these arguments of acme runs")) == ("dropped", True)
        for _ in range(3):
            ledger.let_go()
        eventually(lambda: len(ledger) == 3)
        eventually(lambda: shop.turns.status().unacknowledged == 0)
    assert sorted(ledger.labels()) == ["x", "x", "y"]


def test_one_that_is_to_be_dropped_survives_its_own_worker(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """When it comes back its old lock may still be there: it waits for that to expire, and runs."""
    lease: Any = {"TAKETURNS_LIMITER_LEASE": "10"}
    with worker(settings, tmp_path, "-c", "1", name="w1", **lease) as first:
        result = shop.hold_once.apply_async(("x",), tenant="acme")
        eventually(lambda: shop.turns.status().running == 1, within=20)
        with worker(settings, tmp_path, "-c", "2", name="w2", **lease):
            orphans = first.pool()
            first.stop(signal.SIGKILL)
            for process in orphans:  # one of them would take what lets the second run end
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            ledger.let_go()
            ledger.let_go()  # Redis may give the first to a killed one, whose connection it has not seen end
            assert result.get(timeout=40) is None
    assert ledger.labels() == ["x"]


def test_without_a_gate_the_task_itself_waits_or_is_dropped(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """As with a tenant outside of the canary, whose tasks come by an ordinary queue."""
    shop.turns.canary.set(tenants=())
    with worker(settings, tmp_path, "-P", "threads", "-c", "4"):
        for number in range(3):
            shop.alone.apply_async((f"a{number}", 0.3), tenant="acme")
        eventually(lambda: len(ledger) == 3, within=20)
        first = shop.hold_once.apply_async(("x",), tenant="acme")
        eventually(lambda: shop.turns.locks.holder(lock_of_once(shop, "x")) == first.id, within=10)
        second = shop.hold_once.apply_async(("x",), tenant="acme")
        eventually(lambda: second.state == "REVOKED")
        ledger.let_go()
        first.get(timeout=10)
    assert not overlaps(ledger.rows())
    assert sorted(ledger.labels()) == ["a0", "a1", "a2", "x"]


def lock_of_once(shop: Any, label: str) -> LockName:
    return lock_of(shop.hold_once, "acme", [label], {})


def test_where_tasks_are_applied_who_waits_does_so_in_the_call(shop: Any, ledger: Ledger) -> None:
    """There is no gate, and no queue to go back to."""
    with ThreadPoolExecutor(4) as threads:
        done = [threads.submit(shop.alone.apply, (f"a{n}", 0.1), tenant="acme") for n in range(4)]
        assert all(each.result().successful() for each in done)
    assert not overlaps(ledger.rows())
    assert len(ledger) == 4
