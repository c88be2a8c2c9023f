"""The reaper of the scenarios, ``python -m chaos.reaping``: the real one, which also writes down what it does."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.app import turns
from chaos.ledger import Ledger
from chaos.variables import LEDGER
from taketurns.reaper.removal import Removal
from taketurns.reaper.service import ReaperService

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taketurns.reaper.policy import Decision


def main() -> None:
    """Reap and recover until a SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    Removal.remove = _written_down(Removal.remove)  # type: ignore[method-assign]
    ReaperService(turns).run_forever(stop)


def _written_down(remove: Callable[..., list[Decision]]) -> Callable[..., list[Decision]]:
    ledger = Ledger(Path(os.environ[LEDGER]))
    batches = 0

    def write_down(self: Removal, candidates: Sequence[Decision]) -> list[Decision]:
        nonlocal batches
        batches += 1
        name = f"{os.getpid()}-{batches}"
        ledger.write("reaping", name)
        outcomes = remove(self, candidates)
        for outcome in outcomes:
            ledger.write("removed" if outcome.remove else "spared", name, outcome.tenant)
        return outcomes

    return write_down


if __name__ == "__main__":
    main()
