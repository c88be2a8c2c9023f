"""Queues that come and go under everybody's hands, all the time: what must never happen is that a task is lost."""

from __future__ import annotations

import random
import threading
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from support.publishing import installed
from support.workers import Ledger, worker
from taketurns.reaper.service import ReaperService

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from taketurns.settings import Settings

TENANTS = 12
TASKS_OF_A_PUBLISHER = 100
PUBLISHERS = 3


def test_no_task_is_lost_to_a_hectic_reaper(
    shop: Any,
    settings: Settings,
    ledger: Ledger,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    eventually: Callable[..., None],
) -> None:
    """Every task runs exactly once while a reaper without patience removes each queue as soon as it is empty."""
    caplog.set_level("INFO", logger="taketurns")
    hectic = settings.reaper.model_copy(update={"interval": 0.01, "recover_interval": 0.05})
    labels = [f"{publisher}-{n}" for publisher in range(PUBLISHERS) for n in range(TASKS_OF_A_PUBLISHER)]

    def publish(publisher: int) -> None:
        choose = random.Random(publisher)
        pause = threading.Event()
        for n in range(TASKS_OF_A_PUBLISHER):
            shop.work.apply_async((f"{publisher}-{n}",), tenant=f"t{choose.randrange(TENANTS)}")
            pause.wait(choose.expovariate(1 / 0.03))

    with ExitStack() as stack:
        for name in ("w1", "w2"):
            stack.enter_context(worker(settings, tmp_path, "-P", "threads", "-c", "2", name=name))
        own = stack.enter_context(installed(replace(settings, reaper=hectic)))
        stop = threading.Event()
        reaper = threading.Thread(target=ReaperService(own).run_forever, args=(stop,))
        publishers = [threading.Thread(target=publish, args=(n,)) for n in range(PUBLISHERS)]
        for thread in (reaper, *publishers):
            thread.start()
        try:
            for thread in publishers:
                thread.join()
            eventually(lambda: len(ledger) >= len(labels), within=30, what="all tasks have run")
        finally:
            stop.set()
            reaper.join()
    assert Counter(ledger.labels()) == dict.fromkeys(labels, 1)
    removals = [record for record in caplog.records if record.getMessage().startswith("idle queues removed")]
    assert len(removals) > 2
