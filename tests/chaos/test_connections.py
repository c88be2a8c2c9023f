"""Connections that end, stall or go half-open, and queues that vanish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos import breaking
from chaos.shortened import assert_accounted_for, play

if TYPE_CHECKING:
    from chaos.scene import Ground


def test_a_bad_network_loses_nothing(ground: Ground) -> None:
    """Connections are cut, and left half-open."""
    counts = play("network", ground, faults=3, breakages=(breaking.cut, breaking.forsake))
    assert_accounted_for(counts, hits=3)


def test_a_deleted_queue_takes_only_its_own_tasks_along(ground: Ground) -> None:
    """What was in the queue is gone by the operator's wish; the tenant's next tasks and all others run."""
    counts = play("delete-queues", ground, faults=8, quiet=6.0)  # whatever is closed there is closed openly
    assert_accounted_for(counts, hits=4)
