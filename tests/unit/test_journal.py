"""When a worker's journal calls those who wait until something is written."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from taketurns.errors import RegistryUnavailable
from taketurns.worker.journal import Journal


class Recorded:
    """Records that write down what they are told, or can't."""

    def __init__(self, log: list[object], *, away: bool) -> None:
        self._log = log
        self._away = away

    def write(self, steps: Any) -> None:
        if self._away:
            raise RegistryUnavailable("away")
        self._log.append({step.task_id: step.kind for some in steps.values() for step in some})


@pytest.mark.parametrize("away", [False, True])
def test_who_waits_for_an_end_is_called_when_it_is_written_and_at_once_without_redis(away: bool) -> None:
    log: list[object] = []
    called = threading.Event()
    records: Any = Recorded(log, away=away)
    journal = Journal(records, "w1", ended=log.append)
    journal.tell("acme", {"id": "t1"}, "completed")

    def call() -> None:
        log.append("called")
        called.set()

    journal.then(call)
    assert called.wait(5)
    written = [] if away else [{"t1": "completed"}, {"acme": {"t1": "SUCCESS"}}]
    assert log == [*written, "called"]
    journal.close()
