"""One scenario played and judged, on servers of its own or on given ones."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.judge import Check, Counts, checks, count
from chaos.scene import opened
from support.progress import say

if TYPE_CHECKING:
    from chaos.controls import Control
    from chaos.scenarios import Scenario
    from chaos.scene import Ground, Plan
    from chaos.story import Story


@dataclass(frozen=True)
class Verdict:
    """What came of it.

    Attributes:
        counts: what became of the tasks.
        checks: the bars.
        seconds: how long it took.
        control: what was taken away, so that tasks had to be lost; None if nothing was.
        story: all that happened.
    """

    counts: Counts
    checks: tuple[Check, ...]
    seconds: float
    control: Control | None
    story: Story

    @property
    def missed(self) -> list[Check]:
        """The bars that were not kept; of a control run, that it lost nothing."""
        return [check for check in self.checks if not check.kept]


def perform(scenario: Scenario, ground: Ground, plan: Plan, *, hits: int, races: int) -> Verdict:
    """Play a scenario and judge it.

    Args:
        scenario: the scenario.
        ground: where.
        plan: how much of it.
        hits: how many faults at least must hit work in flight.
        races: how many submissions at least must race a removal.

    Raises:
        CrewFailed: a process failed; then there is nothing to judge.
    """
    began = time.monotonic()
    with opened(ground, plan) as scene:
        scenario.play(scene)
        story, slopes = scene.story, scene.memory.slopes()
    counts = count(story)
    if plan.control is None:
        bars = checks(counts, hits=hits, races=races, slopes=slopes)
    else:
        bars = [Check(f"lost without {plan.control}", counts.lost, 1, at_least=True)]
    verdict = Verdict(
        counts=counts,
        checks=tuple(bars),
        seconds=time.monotonic() - began,
        control=plan.control,
        story=story,
    )
    say(f"{counts.lost} lost, {counts.twice} run twice of {counts.submitted:,}")
    return verdict
