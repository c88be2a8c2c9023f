"""How tasks have ended, counted until it is told."""

from __future__ import annotations

from taketurns.registry.history import Ended
from taketurns.worker.endings import Endings


def test_what_has_ended_is_told_once() -> None:
    """By tenant, and then no more."""
    endings = Endings()
    for _ in range(3):
        endings.completed("usersequence_a")
    endings.failed("usersequence_a")
    endings.failed("usersequence_b.c")
    assert endings.take() == {"a": Ended(3, 1), "b.c": Ended(0, 1)}
    assert endings.take() == {}


def test_what_could_not_be_told_is_told_with_what_comes_next() -> None:
    """However often Redis was away, nothing is forgotten or counted twice."""
    endings = Endings()
    endings.completed("usersequence_a")
    first = endings.take()
    endings.completed("usersequence_a")
    endings.failed("usersequence_b")
    second = endings.take()
    endings.put_back(first)
    endings.put_back(second)
    endings.completed("usersequence_c")
    assert endings.take() == {"a": Ended(2, 0), "b": Ended(0, 1), "c": Ended(1, 0)}
    assert endings.take() == {}
