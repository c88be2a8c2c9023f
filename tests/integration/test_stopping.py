"""What a worker that is told to stop does with the app's ordinary tasks."""

from __future__ import annotations

import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from support.workers import worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.workers import Ledger
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

ORDINARY = {f"o{number}" for number in range(60)}


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_stopping_worker_begins_no_ordinary_task(
    pool: str, shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """Neither while a tenant's long task ends, nor because their messages have come; the next worker has them."""
    with worker(settings, tmp_path, "-P", pool, "-c", "2") as first:
        if pool == "prefork":
            long = shop.work.apply_async(("long", 4), tenant="acme").id
            eventually(lambda: shop.turns.tasks.get("acme", long).stored == "RUNNING")
        for label in sorted(ORDINARY):
            shop.ordinary.delay(label, 0.2)
        eventually(lambda: len(ledger) >= 3)
        first.process.send_signal(signal.SIGTERM)
        signalled = time.time()
        assert first.process.wait(20) == 0
    begun = [row["label"] for row in ledger.rows() if row["started"] > signalled + 0.5]
    assert not begun
    with worker(settings, tmp_path, "-P", pool, "-c", "2", name="w2"):
        eventually(lambda: set(ledger.labels()) >= ORDINARY, within=40)
    assert set(Counter(ledger.labels()).values()) == {1}


@pytest.mark.parametrize("whose", ["o", "t"])
def test_a_stopped_solo_worker_ends_the_task_that_runs_and_begins_none(
    whose: str, shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """The signal comes while a task keeps the loop from seeing it, and others wait, of both kinds."""
    with worker(settings, tmp_path, "-P", "solo") as first:
        for number in range(6):
            shop.ordinary.delay(f"o{number}", 1)
            for tenant in ("acme", "globex"):
                shop.work.apply_async((f"t{tenant}{number}", 1), tenant=tenant)
        # They take turns, and the other side's has just ended: one of this side's runs, as a rule.
        eventually(lambda: len(ledger) > 1 and ledger.labels()[-1][0] != whose, within=20)
        first.process.send_signal(signal.SIGTERM)
        signalled = time.time()
        assert first.process.wait(20) == 0
    assert not [row["label"] for row in ledger.rows() if row["started"] > signalled + 0.5]
