"""The reaper of the scenarios, ``python -m chaos.reaping``: the real one, which also writes down what it removed."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.app import turns
from chaos.ledger import VARIABLE, Ledger
from taketurns.reaper.reaper import Reaper, ReaperReport
from taketurns.reaper.service import ReaperService

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Reap and recover until a SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    Reaper.run_once = _written_down(Reaper.run_once)  # type: ignore[method-assign]
    ReaperService(turns).run_forever(stop)


def _written_down(run_once: Callable[..., ReaperReport]) -> Callable[..., ReaperReport]:
    ledger = Ledger(Path(os.environ[VARIABLE]))
    runs = 0

    def run(self: Reaper, **options: object) -> ReaperReport:
        nonlocal runs
        runs += 1
        name = f"{os.getpid()}-{runs}"
        ledger.write("reaping", name)
        report = run_once(self, **options)
        for tenant in report.removed:
            ledger.write("reaped", name, tenant)
        return report

    return run


if __name__ == "__main__":
    main()
