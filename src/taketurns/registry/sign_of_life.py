"""What is known of a worker without asking it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SignOfLife:
    """What is known of a worker without asking it.

    Attributes:
        lives: whether it counts as alive; else it went without a farewell, or hangs.
        seconds: since its last sign of life; None: unknown.
    """

    lives: bool
    seconds: float | None
