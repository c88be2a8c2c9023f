"""The scenarios in little, for ``make test``: the same code, fewer faults, and no bars on how fast things go."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from chaos.performance import perform
from chaos.scenarios import SCENARIOS
from chaos.scene import Plan

if TYPE_CHECKING:
    from chaos.judge import Counts
    from chaos.scene import Ground

SEED: Final = 7
NOTICED: Final = 13.0
"""Seconds in which a connection that has nobody at its other end is noticed, and what it held is delivered again."""


def play(
    name: str, ground: Ground, *, faults: int, without: bool = False, quiet: float = NOTICED, **changes: Any
) -> Counts:
    """Play a scenario with some faults and changes; return what became of the tasks.

    Args:
        name: the scenario.
        ground: where.
        faults: how many faults.
        without: whether to take away what its control run goes without.
        quiet: seconds without any news after which what is unaccounted for is given up.
        **changes: other values for attributes of the scenario.
    """
    scenario = replace(SCENARIOS[name], **{"workers": 2, "interval": 1.0, "recovers": False} | changes)
    control = scenario.control if without else None
    plan = Plan(faults=faults, seconds=30.0, calm=1.0, seed=SEED, control=control, quiet=quiet)
    return perform(scenario, ground, plan, hits=0, races=0).counts


def assert_accounted_for(counts: Counts, *, hits: int) -> None:
    """Check what holds for every scenario: nothing is lost, and what runs twice was in flight at a fault."""
    assert counts.lost == 0
    assert counts.unexplained == 0
    assert counts.refused_ran == 0
    assert counts.misnamed == 0
    assert counts.stray == 0
    assert counts.hits >= hits
    assert counts.once > 100
