"""Which tasks are cancelled, as far as this worker knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taketurns.errors import RegistryUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from taketurns.registry.cancellations import Cancellations

INTERVAL: Final = 1.0
"""Seconds until a worker that was not told of a cancellation knows of it."""

_OVERLAP: Final = 5.0
"""Seconds that each look goes back before the one before: two at the same time may be seen in either order."""

_SWEEP_AFTER: Final = 600
"""Looks from one to the next that finds the ids whose messages somebody else has met, as a purge does."""


class Cancelled:
    """The ids of tasks that are not to be started. ``look`` blocks, all else is for the worker's loop.

    Args:
        cancellations: what all workers know.
    """

    def __init__(self, cancellations: Cancellations) -> None:
        self._cancellations = cancellations
        self._ids: set[str] = set()
        self._since = 0.0
        self._looks = 0

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._ids

    def holds(self, task_id: str) -> bool:
        """Tell whether a task is cancelled still: replayed by an operator, it has the same id and is to run.

        Blocks for what Redis takes, for a task that this worker knows to be cancelled, and for no other.
        """
        if task_id not in self._ids:
            return False
        try:
            if self._cancellations.has(task_id):
                return True
        except RegistryUnavailable:
            return True
        self._ids.discard(task_id)
        return False

    def add(self, task_ids: Iterable[str]) -> None:
        """Take note of some that this worker was told of, or has looked up."""
        self._ids.update(task_ids)

    def look(self) -> tuple[Collection[str], Collection[str]]:
        """Return those that are new since the last look, and of the known ones those that are no more.

        Raises:
            RegistryUnavailable: Redis is away.
        """
        self._looks += 1
        known = list(self._ids) if self._looks % _SWEEP_AFTER == 0 else []
        found, now = self._cancellations.since(0.0 if known else self._since)
        self._since = now - _OVERLAP
        return found, set(known).difference(found)

    def learn(self, looked: tuple[Collection[str], Collection[str]]) -> None:
        """Take note of what a look has found."""
        found, gone = looked
        self._ids.difference_update(gone)
        self._ids.update(found)

    def came(self, task_id: str) -> None:
        """Forget a task here whose message has come, and is not run."""
        self._ids.discard(task_id)
