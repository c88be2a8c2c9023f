"""The moment at which the worker's loop has to decide something although nothing happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taketurns.loop import hurry

if TYPE_CHECKING:
    from collections.abc import Callable


class Alarm:
    """Wakes a loop at one moment: one timer for all deadlines, since kombu fires few that are due together.

    Args:
        hub: the loop.
        timer: its timer.
        then: called at that moment, or later if the loop is late.
    """

    def __init__(self, hub: Any, timer: Any, then: Callable[[], None]) -> None:
        self._hub = hub
        self._timer = timer
        self._then = then
        self._at: float | None = None
        self._entry: Any = None

    def is_due(self, now: float) -> bool:
        """Tell whether the moment has come, by the monotonic clock."""
        return self._at is not None and now >= self._at

    def set(self, at: float | None) -> None:
        """Wake the loop then, by the monotonic clock, and not when it was to be before; None: not at all."""
        if at == self._at:
            return
        self.cancel()
        self._at = at
        if at is not None:
            self._entry = self._timer.call_at(at, self._then)
            hurry(self._hub)  # in a tick: kombu has reckoned already for how long this pass may sleep

    def cancel(self) -> None:
        """Wake it no more."""
        self._at = None
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None
