"""RabbitMQ and Redis killed, restarted and flushed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chaos import breaking
from chaos.scenarios import SCENARIOS
from chaos.shortened import assert_accounted_for, play

if TYPE_CHECKING:
    from chaos.scene import Ground


def test_a_killed_broker_loses_nothing_not_even_on_the_ladder(own_ground: Ground) -> None:
    """Confirmed tasks survive in every queue and on every level; refused ones were not stored."""
    breakages = (breaking.kill_the_broker,)
    counts = play("ladder", own_ground, faults=1, breakages=breakages, api=True)
    assert_accounted_for(counts, hits=1)
    assert counts.submitted > counts.accepted


def test_what_had_ended_before_the_broker_was_killed_does_not_run_again(own_ground: Ground) -> None:
    """The broker has lost the acknowledgements of queues that had no rest, but the tasks' records are there."""
    load = replace(SCENARIOS["kill-broker-backlog"].load, count=1500)
    counts = play("kill-broker-backlog", own_ground, faults=2, recovers=True, load=load)
    assert_accounted_for(counts, hits=2)


def test_redis_may_go_and_come_back_empty(own_ground: Ground) -> None:
    """No task is lost, and none runs twice."""
    counts = play("kill-redis", own_ground, faults=4)
    assert_accounted_for(counts, hits=4)
    assert counts.twice == 0
