"""How late the worker's loop was with a timer that is due ten times a second."""

from __future__ import annotations

from time import monotonic
from typing import Final

INTERVAL: Final = 0.1
"""Seconds between two measurements."""


class Lateness:
    """The largest lateness since it was asked for last, in seconds. For the worker's loop."""

    def __init__(self) -> None:
        self._worst = 0.0
        self._due = 0.0

    def begin(self) -> None:
        """Begin anew: the timer starts now."""
        self._due = monotonic() + INTERVAL

    def measure(self) -> None:
        """Note how late this call is; the next one is due an interval from now."""
        now = monotonic()
        self._worst = max(self._worst, now - self._due)
        self._due = now + INTERVAL

    def take(self) -> float:
        """Return the largest lateness, and forget it."""
        worst, self._worst = self._worst, 0.0
        return worst
