"""Workers among which the tenant queues are shared out."""

from __future__ import annotations

import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from support.workers import worker
from taketurns.registry.usage import Report, Spent, Totals, Usage
from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from support.workers import Ledger, Worker
    from taketurns.settings import Settings
    from taketurns.store import Store

    Eventually = Callable[..., None]

TENANTS = [f"t{number}" for number in range(30)]


@pytest.fixture
def fleet(shop: Any, settings: Settings, tmp_path: Path) -> Iterator[list[Worker]]:
    """Four workers with a slot each, and 30 empty queues: more than each of them keeps a consumer on."""
    for tenant in TENANTS:
        shop.turns.publisher.ensure(tenant)
    with ExitStack() as stack:

        def start(name: str) -> Worker:
            options = ("-P", "threads", "-c", "1")
            return stack.enter_context(
                worker(settings, tmp_path, *options, name=name, TAKETURNS_WORKER_MAX_CONSUMERS="10")
            )

        with ThreadPoolExecutor() as at_once:
            workers = list(at_once.map(start, ("w0", "w1", "w2", "w3")))
        yield workers
        for each in workers:
            each.process.terminate()


def listening(shop: Any) -> list[int]:
    """Return how many consumers each worker keeps."""
    replies = shop.app.control.broadcast("taketurns_status", reply=True, timeout=2, limit=4) or []
    return sorted(answer["listening"] for reply in replies for answer in reply.values())


def are_shared_out(shop: Any) -> bool:
    """Return whether each queue has two consumers, and no worker one on all of them, as two that came first had."""
    consumers = listening(shop)
    return sum(consumers) == 2 * len(TENANTS) and max(consumers) < len(TENANTS)


def test_each_queue_has_two_consumers(
    fleet: list[Worker], shop: Any, ledger: Ledger, eventually: Eventually
) -> None:
    """Two workers keep a consumer on each queue, and every tenant's task runs, a new tenant's too."""
    eventually(lambda: are_shared_out(shop), within=20)
    for tenant in [*TENANTS, "new"]:
        shop.work.apply_async((tenant,), tenant=tenant)
    eventually(lambda: Counter(ledger.labels()) == Counter([*TENANTS, "new"]))


def test_a_lone_tenant_gets_all_workers(
    fleet: list[Worker], shop: Any, ledger: Ledger, eventually: Eventually
) -> None:
    """Those that are idle help with a queue that waits for its owners."""
    eventually(lambda: are_shared_out(shop), within=20)
    for number in range(60):
        shop.work.apply_async((f"{number}", 0.1), tenant="t0")
    eventually(lambda: len(ledger) == 60)
    assert len({row["worker"] for row in ledger.rows()}) == 4
    eventually(lambda: sum(listening(shop)) == 2 * len(TENANTS), what="the helpers keep no consumer")


def test_a_queue_whose_owners_die_is_taken(
    fleet: list[Worker], shop: Any, ledger: Ledger, eventually: Eventually
) -> None:
    """With two workers killed at once, the others take over what both of them owned, though its tasks wait there."""
    eventually(lambda: are_shared_out(shop), within=20)
    for each in fleet[:2]:
        each.stop(signal.SIGKILL)
    for tenant in TENANTS:
        shop.work.apply_async((tenant,), tenant=tenant)
    eventually(lambda: set(ledger.labels()) == set(TENANTS), within=15)
    eventually(lambda: listening(shop) == [len(TENANTS)] * 2, within=15)


def test_a_newcomer_runs_where_a_slot_frees_first(
    shop: Any, settings: Settings, tmp_path: Path, ledger: Ledger, eventually: Eventually
) -> None:
    """Beside a long task on one worker it waits for the next slot of the other, wherever its message came first."""
    newcomers = [f"new{number}" for number in range(6)]
    for tenant in newcomers:
        shop.turns.publisher.ensure(tenant)
    with ExitStack() as stack:
        for name in ("w0", "w1"):
            stack.enter_context(worker(settings, tmp_path, *("-P", "threads", "-c", "1"), name=name))
        eventually(lambda: len(shop.turns.registry.workers()) == 2)
        shop.work.apply_async(("slow", 8), tenant="slow")
        for _ in range(30):
            shop.work.apply_async(("quick", 0.3), tenant="quick")
        eventually(lambda: len(ledger) >= 3)  # by now the workers know of each other
        published = {}
        for tenant in newcomers:
            published[tenant] = time.time()
            shop.work.apply_async((tenant,), tenant=tenant)
            eventually(lambda tenant=tenant: tenant in ledger.labels(), within=6)
        rows = ledger.rows()
    quick = [row["started"] for row in rows if row["label"] == "quick"]
    started = {row["label"]: row["started"] for row in rows}
    overtaken_by = [sum(published[tenant] < at < started[tenant] for at in quick) for tenant in newcomers]
    assert max(overtaken_by) <= 1, overtaken_by  # one may have had the slot already when the message came
    assert "slow" not in started


def test_reports_add_up(store: Store) -> None:
    """Each worker sees what all have reported of the queues that it asks for, and who waits if it is idle."""
    usage = Usage(store)
    one, two = queue_name("one"), queue_name("two")
    used = {one: Spent(1_500_000, 3), two: Spent(250_000, 1)}
    usage.exchange(report("a", "1", used, waiting=[one]))
    usage.exchange(report("b", "1", {one: Spent(-500_000, -1)}))
    asked = usage.exchange(report("b", "2", watched=[one, "unknown"], idle=True))
    assert asked == Totals(used={one: Spent(1_000_000, 2), "unknown": Spent(0, 0)}, waiting=[one])
    usage.forget(one)
    assert usage.exchange(report("a", "2", watched=[one, two])).used == {
        one: Spent(0, 0),
        two: Spent(250_000, 1),
    }


def test_a_report_that_is_told_again_counts_once(store: Store) -> None:
    """Its answer may have been lost; the worker can't know, and nothing is counted twice or never."""
    usage = Usage(store)
    one = queue_name("one")
    for number in ("1", "1", "2", "2"):
        found = usage.exchange(report("a", number, {one: Spent(100, 1)}, watched=[one]))
        assert found.used == {one: Spent(100 * int(number), int(number))}
    usage.exchange(report("b", "2", {one: Spent(100, 1)}))
    assert usage.exchange(report("a", "3", watched=[one])).used == {one: Spent(300, 3)}


def test_a_queue_waits_no_longer_than_it_is_said_to(store: Store, eventually: Eventually) -> None:
    """What a worker does not report again is not helped with for ever."""
    usage = Usage(store)
    usage.exchange(report("a", "1", waiting=["a"]))
    eventually(lambda: not usage.exchange(report("a", "2", idle=True)).waiting)


def report(
    worker: str,
    number: str,
    used: Mapping[str, Spent] | None = None,
    *,
    watched: Collection[str] = (),
    waiting: Collection[str] = (),
    idle: bool = False,
) -> Report:
    return Report(worker, number, used or {}, watched, waiting, idle)
