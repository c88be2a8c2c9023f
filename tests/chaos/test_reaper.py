"""Publishers against a reaper that removes every queue as soon as it is empty."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chaos.scenarios import SCENARIOS
from chaos.shortened import assert_accounted_for, play

if TYPE_CHECKING:
    from chaos.scene import Ground

RACE = replace(SCENARIOS["reaper"].load, count=1500, tenants=50)


def test_tasks_for_queues_that_are_being_removed_run_once(ground: Ground) -> None:
    """Whatever moment of the removal a task comes at, it is neither lost nor doubled."""
    counts = play("reaper", ground, faults=0, load=RACE)
    assert_accounted_for(counts, hits=0)
    assert counts.twice == 0
    assert counts.races > 20  # as many as the machine comes to
    assert counts.removals > 50


def test_without_the_draining_step_tasks_are_lost(ground: Ground) -> None:
    """The scenario can tell: a reaper that trusts the broker's own check of emptiness loses tasks."""
    # Nothing is away there, so nobody waits for long.
    assert play("reaper", ground, faults=0, load=RACE, without=True, quiet=6.0).lost > 0
