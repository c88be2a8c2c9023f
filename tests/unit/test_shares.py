"""How the scheduler shares a worker's seconds, against a pure model of the broker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from benchmarks.simulation import Options, simulate
from support.broker_model import Model
from taketurns.worker.commands import Fetch, Park, Start
from taketurns.worker.turns import Turns

PLENTY = 20_000


def backlogged(model: Model, queue: str, *, seconds: float, weight: float = 1.0, count: int = PLENTY) -> None:
    """Let a tenant have so much to do that it never runs dry."""
    model.publish(queue, count, seconds=seconds)
    model.turns.add(queue, backlog=count)
    model.turns.set_weight(queue, weight)


def test_shares_follow_weights_and_seconds() -> None:
    """Weights 1:2:4 give 1:2:4 of the worker's seconds, though the tasks differ by 1:100 in length."""
    model = Model(slots=2)
    for queue, weight, seconds in (("a", 1, 0.5), ("b", 2, 0.005), ("c", 4, 0.1)):
        backlogged(model, queue, seconds=seconds, weight=weight)
    model.run_until(100)
    used = model.seconds()
    for queue, share in (("a", 1 / 7), ("b", 2 / 7), ("c", 4 / 7)):
        assert used[queue] / sum(used.values()) == pytest.approx(share, rel=0.03)


def test_nobody_starts_with_a_handful_of_long_tasks() -> None:
    """Before it is known what a tenant's tasks take, one of them runs at a time while others wait."""
    model = Model(slots=3)
    for queue in "abcdef":
        backlogged(model, queue, seconds=0.005)
    backlogged(model, "long", seconds=0.5)
    model.run_until(0.4)
    assert sum(message.queue == "long" for message in model.starts) == 1


def test_what_was_fetched_before_it_turned_out_to_be_long_does_not_start_before_its_turn() -> None:
    """A slot that frees while the next one's message is not there yet is kept for that."""
    turns: Turns[str] = Turns()
    turns.add("long", backlog=10)
    assert turns.decide(slots=2, free=1, now=0.0) == [Fetch("long", 2)]
    turns.fetched("long", "long 1", 9)
    turns.fetched("long", "long 2", 8)
    assert turns.decide(slots=2, free=1, now=0.0) == [Start("long 1")]
    turns.add("short", backlog=10)
    turns.settled("long 1", now=1.0)
    fetch = Fetch("short", 1)
    assert fetch in turns.decide(slots=2, free=1, now=1.0)
    assert turns.decide(slots=2, free=1, now=1.0) == []
    turns.fetched("short", "short 1", 9)
    assert turns.decide(slots=2, free=1, now=1.0) == [Start("short 1")]


def test_a_tenant_of_two_kinds_of_tasks_has_one_share() -> None:
    """Slow tasks among quick ones are charged for what they take, not for what the tenant's others took."""
    model = Model(slots=2)
    backlogged(model, "plain", seconds=0.05)
    model.turns.add("mixed", backlog=4 * PLENTY)
    for _ in range(2000):
        model.publish("mixed", 3, seconds=0.005, kind="quick")
        model.publish("mixed", 1, seconds=0.5, kind="slow")
    model.run_until(100)
    used = model.seconds()
    assert used["mixed"] / sum(used.values()) == pytest.approx(0.5, rel=0.03)


def test_another_weight_applies_to_the_backlog_at_once() -> None:
    """After a change the shares are those of the new weights, whatever was had before."""
    model = Model(slots=2)
    backlogged(model, "a", seconds=0.01, weight=4)
    backlogged(model, "b", seconds=0.03)
    model.run_until(30)
    model.turns.set_weight("a", 1)
    model.turns.set_weight("b", 3)
    model.run_until(60)
    used = model.seconds(since=30)
    assert used["b"] / sum(used.values()) == pytest.approx(0.75, rel=0.03)


def test_a_raised_weight_does_not_pay_for_the_lower_one() -> None:
    """A tenant that had next to nothing has its new share at once: what it was charged is charged anew."""
    model = Model(slots=1)
    backlogged(model, "a", seconds=0.5, weight=0.001)
    backlogged(model, "b", seconds=0.01)
    model.run_until(30)
    assert model.seconds()["a"] < 2
    model.turns.set_weight("a", 1)
    model.run_until(60)
    used = model.seconds(since=30)
    assert used["a"] / sum(used.values()) == pytest.approx(0.5, rel=0.05)


def test_a_weight_that_changes_all_the_time_costs_no_memory() -> None:
    """The places that a waiting tenant had before are forgotten."""
    model = Model(slots=1)
    for queue in ("long", *(f"t{number}" for number in range(20))):
        backlogged(model, queue, seconds=10 if queue == "long" else 0.01, count=1000)
    model.settle_down()
    for step in range(2000):
        for queue in tuple(model.turns):
            model.turns.set_weight(queue, 1 + step % 7)
    assert len(model.turns.line._heap) < 200
    assert len(list(model.turns.line)) >= 19


@pytest.mark.parametrize("reason", [Park.PAUSED, Park.THROTTLED])
def test_a_parked_tenant_earns_no_credit(reason: Park) -> None:
    """Who was paused or throttled with a backlog has its share again afterwards, and nothing of the past."""
    model = Model(slots=2)
    for queue in ("parked", "other"):
        backlogged(model, queue, seconds=0.01)
    model.turns.park("parked", reason)
    model.run_until(50)
    assert model.seconds()["parked"] == 0
    model.turns.unpark("parked", reason)
    model.run_until(60)
    used = model.seconds(since=50)
    assert used["parked"] / sum(used.values()) == pytest.approx(0.5, rel=0.03)


def test_a_message_that_is_put_away_counts_as_taken() -> None:
    """Of one that was started and not run the seconds are told back, and that it has left the queue stays told."""
    turns: Turns[str] = Turns()
    turns.add("a", backlog=1)
    turns.decide(slots=1, free=1, now=0.0)
    turns.fetched("a", "poison", 0)
    turns.decide(slots=1, free=1, now=0.0)
    assert turns.accounts.take_used()["a"].tasks == 1
    turns.settled("poison", now=0.1, ran=False)
    assert turns.accounts.take_used()["a"].tasks == 0


def test_a_task_that_does_not_run_costs_its_tenant_nothing() -> None:
    """A message that was put away gives back its charge, and tells nothing about how long the tenant's tasks take."""
    model = Model(slots=1)
    for queue in ("poison", "other"):
        backlogged(model, queue, seconds=0.1)
    model.settle_down()
    while model.put_away < 10:
        if model.running[0][1].queue == "poison":
            model.put_one_away(after=1.0)
        else:
            model.finish()
        model.settle_down()
    model.run_until(model.now + 20)
    used = model.seconds()
    assert used["poison"] / sum(used.values()) == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("consumers", [1000, 100])
def test_workers_that_tell_each_other_share_exactly(consumers: int) -> None:
    """With two owners a queue as with all: no slot stays free, and the errors on each worker don't add up.

    Not of the few whose long tasks all workers began with, and who pay for that.
    """
    options = Options(tenants=400, workers=8, slots=2, consumers=consumers, seconds=300, interval=0.5)
    found = simulate(options, share=True)
    assert found.used > 0.995
    assert -0.1 < found.errors[4] < found.errors[-5] < 0.05  # the 1st and the 99th percentile


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    slots=st.integers(1, 4),
    tenants=st.lists(
        st.tuples(st.sampled_from([0.004, 0.02, 0.1, 0.4]), st.sampled_from([1.0, 2.0, 4.0])),
        min_size=2,
        max_size=6,
    ),
)
def test_the_error_of_a_share_is_bounded(slots: int, tenants: list[tuple[float, float]]) -> None:
    """No backlogged tenant is ever further from its share than a few of the longest tasks.

    A tenant whose share is more than one slot at a time can have it; all of them are capped by the slots alone.
    """
    model = Model(slots=slots)
    weights = {}
    for number, (seconds, weight) in enumerate(tenants):
        enough = round(20 * slots / seconds) + 100  # for all slots, and a hand
        backlogged(model, f"t{number}", seconds=seconds, weight=weight, count=enough)
        weights[f"t{number}"] = weight
    model.run_until(20)
    used = model.seconds()
    longest = max(seconds for seconds, _ in tenants)
    for queue, weight in weights.items():
        entitled = sum(used.values()) * weight / sum(weights.values())
        assert abs(used[queue] - entitled) <= (slots + 1) * 2 * longest
