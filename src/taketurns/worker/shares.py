"""Which fraction of this worker's seconds each tenant had lately. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

WINDOW: Final = 60.0
"""Seconds that are looked back."""


class RecentShares:
    """Adds up how long each tenant's tasks had a slot in the last ``WINDOW`` seconds.

    Not what tenants are charged: that is an estimate when a task starts, and a long task would be all in one moment.
    Whole microseconds, so that what is taken off again leaves nothing behind.

    Args:
        now: the time of the caller's monotonic clock, in seconds.
    """

    def __init__(self, now: float) -> None:
        self._since = now
        self._current: dict[str, int] = {}
        self._steps: deque[tuple[float, dict[str, int]]] = deque()
        self._totals: dict[str, int] = {}
        self._sum = 0

    def ended(self, queue: str, started: float, now: float) -> None:
        """Note that a task of a queue ended now."""
        used = round((now - max(started, self._since)) * 1e6)
        self._current[queue] = self._current.get(queue, 0) + used

    def advance(self, now: float, running: Iterable[tuple[str, float]]) -> None:
        """Take in what was used since the last call, and forget what is too old.

        Args:
            now: the time.
            running: of each task that runs, its queue and since when.
        """
        for queue, started in running:
            self.ended(queue, started, now)
        for queue, used in self._current.items():
            self._totals[queue] = self._totals.get(queue, 0) + used
            self._sum += used
        self._steps.append((now, self._current))
        self._current, self._since = {}, now
        while self._steps[0][0] <= now - WINDOW:
            self._forget(self._steps.popleft()[1])

    def of(self, queue: str) -> float:
        """Return the fraction of a queue's tenant, 0 to 1."""
        return self._totals.get(queue, 0) / self._sum if self._sum > 0 else 0.0

    def _forget(self, step: dict[str, int]) -> None:
        for queue, used in step.items():
            self._sum -= used
            left = self._totals[queue] - used
            if left:
                self._totals[queue] = left
            else:
                del self._totals[queue]
