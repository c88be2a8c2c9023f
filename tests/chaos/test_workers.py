"""Workers that are killed, stopped, and come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.load import Load
from chaos.shortened import assert_accounted_for, play

if TYPE_CHECKING:
    from chaos.scene import Ground


@pytest.mark.parametrize("name", ["kill-workers", "kill-workers-threads"])
def test_a_killed_worker_loses_nothing(name: str, ground: Ground) -> None:
    """What it ran and held runs elsewhere, and only what it ran runs twice."""
    counts = play(name, ground, faults=3)
    assert_accounted_for(counts, hits=2)  # a worker may be killed that runs nothing
    assert counts.twice <= counts.in_flight


def test_without_late_acknowledgements_a_killed_worker_loses_tasks(ground: Ground) -> None:
    """The scenario can tell: with tasks that are acknowledged when they start it finds losses."""
    assert play("kill-workers", ground, faults=4, without=True, load=_BUSY).lost > 0


def test_a_clean_stop_loses_nothing_and_doubles_nothing(ground: Ground) -> None:
    """Workers that finish what they run and give back what they hold go unnoticed, while others join."""
    counts = play("scale", ground, faults=3)
    assert_accounted_for(counts, hits=1)
    assert counts.twice == 0


_BUSY = Load("library", shortest=0.05, longest=0.3, rate=40.0)
