"""How far work on many messages is: told to whoever shows it, or stops it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """How far a piece of work is.

    Attributes:
        passed: messages that it has looked at.
        total: those that there are to look at.
        done: messages with which it did what it was to do.
    """

    passed: int
    total: int
    done: int


def unheard(_: Step) -> None:
    """Take note of no progress."""
