"""What a worker tells of a tenant that waits, compared with what then happens in the model of the broker."""

from __future__ import annotations

import pytest

from support.broker_model import Model
from taketurns.worker.commands import Park
from taketurns.worker.outlook import Outlook, outlook


def look(model: Model, queue: str) -> Outlook:
    return outlook(model.turns, queue, slots=model.slots, now=model.now)


def test_a_queue_that_is_not_served_is_told_so() -> None:
    """Of a queue that the worker does not know it says that it does not serve it."""
    assert look(Model(), "a") == Outlook(serves=False)


def test_a_parked_queue_tells_why_and_how_long() -> None:
    """Each reason is named with the seconds that are left; a pause has no end that is known."""
    model = Model(now=100.0)
    model.publish("a", 5)
    model.turns.add("a", backlog=5)
    model.turns.park("a", Park.PAUSED)
    model.turns.park("a", Park.THROTTLED, 107.5)
    assert look(model, "a") == Outlook(serves=True, parked={"paused": None, "throttled": 7.5})


def test_a_throttled_queue_that_is_looked_at_earlier_waits_for_its_limit() -> None:
    """A look that finds the same message at the head starts nothing, so it is not what the tenant waits for."""
    model = Model(now=100.0)
    model.publish("a", 5)
    model.turns.add("a", backlog=5)
    model.turns.park("a", Park.THROTTLED, 101.0)
    seen = outlook(model.turns, "a", slots=model.slots, now=model.now, limited_until=130.0)
    assert seen.parked == {"throttled": 30.0}


def test_an_empty_queue_waits_for_no_turn() -> None:
    """A tenant that has nothing has no position either."""
    model = Model()
    model.turns.add("a")
    model.settle_down()
    assert look(model, "a") == Outlook(serves=True, parked={})


def test_a_running_task_is_counted() -> None:
    """What runs and what is held is told apart."""
    model = Model(slots=1)
    model.publish("a", 3)
    model.turns.add("a", backlog=3)
    model.settle_down()
    seen = look(model, "a")
    assert (seen.running, seen.hand) == (1, 1)


@pytest.mark.parametrize("others", [1, 10, 100])
def test_position_and_seconds_are_what_then_happens(others: int) -> None:
    """So many tenants run before the last in line as it was told, after about so many seconds."""
    model = Model(slots=2, max_credit=1)
    for number in range(others):
        model.publish(f"q{number}", 50, seconds=0.1)
        model.turns.add(f"q{number}", backlog=50)
    model.run_until(20)  # by now it is known what the tasks take
    model.publish("last", 1, seconds=0.1)
    model.turns.add("last", backlog=1)
    model.turns.tenants["last"].virtual += 0.15  # somewhere in the middle
    seen, began, started = look(model, "last"), model.now, len(model.starts)
    assert seen.position is not None
    assert seen.seconds is not None
    while model.starts[-1].queue != "last":
        model.run_until(model.now)
        model.finish()
        model.settle_down()
    before = {message.queue for message in model.starts[started:-1]}
    assert abs(len(before) - seen.position) <= model.slots + model.max_credit
    assert model.now - began == pytest.approx(seen.seconds, abs=0.1 * (model.slots + 1), rel=0.2)
