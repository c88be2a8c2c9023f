"""A moment until which blocking reads may wait, though a read's own timeout begins anew with each. Pure."""

from __future__ import annotations

from typing import Final

_LATE: Final = 1.0
"""Seconds by which the moment may be missed at most."""


class Deadline:
    """Tells how long a connection may be silent, and when it must be opened anew, with less.

    Args:
        at: the moment, on the clock of ``now``; None: there is none.
    """

    def __init__(self, at: float | None) -> None:
        self._at = at
        self._allowed = 0.0

    def allow(self, now: float) -> float | None:
        """Return the seconds that a connection opened now may be silent; None: any."""
        if self._at is None:
            return None
        self._allowed = max(0.01, self._at - now)
        return self._allowed

    def is_stale(self, now: float, *, silence: float) -> bool:
        """Return whether the connection that was opened last could be silent for longer than is left."""
        return self._at is not None and self._at - now < min(self._allowed, silence) - _LATE

    def is_over(self, now: float) -> bool:
        """Return whether the moment has passed."""
        return self._at is not None and now >= self._at

    def shortened(self, pause: float, now: float) -> float:
        """Return a pause that does not reach beyond it."""
        return pause if self._at is None else max(0.0, min(pause, self._at - now))
