"""When a worker's journal calls those who wait until something is written."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from taketurns.errors import RegistryUnavailable
from taketurns.worker import journal
from taketurns.worker.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable


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
    this = Journal(records, "w1", ended=log.append)
    this.tell("acme", {"id": "t1"}, "completed")

    def call() -> None:
        log.append("called")
        called.set()

    this.then(call)
    assert called.wait(5)
    written = [] if away else [{"t1": "completed"}, {"acme": {"t1": "SUCCESS"}}]
    assert log == [*written, "called"]
    this.close()


@pytest.mark.parametrize("ending", ["then", "close"])
def test_who_is_in_a_hurry_does_not_wait_until_much_is_gathered(
    ending: str, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    """While much happens the next steps are gathered for longer; a stopping worker's last ones are not lost by it."""
    monkeypatch.setattr(journal, "_MANY", 0)
    monkeypatch.setattr(journal, "_LONG_INTERVAL", 60.0)
    log: list[Any] = []
    records: Any = Recorded(log, away=False)
    this = Journal(records, "w1")
    this.tell("acme", {"id": "first"}, "completed")
    eventually(lambda: log)
    this.tell("acme", {"id": "late"}, "completed")
    if ending == "then":
        called = threading.Event()
        this.then(called.set)
        assert called.wait(5)
    this.close(5)
    assert log[-1] == {"late": "completed"}
