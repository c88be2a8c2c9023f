"""What a prefork worker writes to its processes."""

from __future__ import annotations

import os
import signal
from select import PIPE_BUF
from typing import TYPE_CHECKING, Any

from support.workers import worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.workers import Ledger
    from taketurns.settings import Settings

    Eventually = Callable[..., None]


def test_tasks_of_every_size_arrive_whole(shop: Any, settings: Settings, tmp_path: Path) -> None:
    """Those that a pipe takes whole or not at all, those that are longer than that, and those it can't hold."""
    sizes = [1, *range(PIPE_BUF - 2500, PIPE_BUF + 100, 61), 100_000, 1_000_000, 2]
    with worker(settings, tmp_path, "-P", "prefork", "-c", "2"):
        labels = [f"{size}-".ljust(size, "x") for size in sizes]
        results = [shop.work.apply_async((label,), tenant="acme") for label in labels]
        assert [result.get(timeout=30) for result in results] == labels


def test_what_a_killed_process_was_sent_runs_in_the_next_one(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """Its processes die while the worker looks away and tasks come: each runs, and the worker goes on."""
    with worker(settings, tmp_path, "-P", "prefork", "-c", "2") as running:
        shop.work.apply_async(("before",), tenant="acme").get(timeout=20)
        with running.silent():
            for process in running.pool():
                os.kill(process, signal.SIGKILL)
            for number in range(6):
                shop.work.apply_async((str(number),), tenant="acme")
        eventually(lambda: sorted(ledger.labels()) == [*"012345", "before"], within=30)
        assert running.process.poll() is None
