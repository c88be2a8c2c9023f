"""What a worker remembers of cancelled tasks."""

from __future__ import annotations

from typing import Any

from taketurns.worker.cancelled import Cancelled


class Noted:
    """What all workers know: the tasks that are cancelled, each with the moment of that."""

    def __init__(self, **moments: float) -> None:
        self.moments = moments
        self.now = 100.0

    def since(self, moment: float) -> tuple[list[str], float]:
        self.now += 1
        return [task_id for task_id, at in self.moments.items() if at >= moment], self.now


def test_a_worker_forgets_cancelled_tasks_whose_messages_are_gone() -> None:
    """A purge would leave their ids in the memory of each worker."""
    noted: Any = Noted(purged=99, waits=99)
    cancelled = Cancelled(noted)
    cancelled.learn(cancelled.look())
    del noted.moments["purged"]
    assert "purged" in cancelled
    for _ in range(600):
        cancelled.learn(cancelled.look())
    assert ("purged" in cancelled, "waits" in cancelled) == (False, True)
