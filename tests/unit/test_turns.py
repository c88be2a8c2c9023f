"""The turns scheduler against a pure model of the broker."""

from __future__ import annotations

from collections import Counter, deque
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from support.broker_model import Message, Model
from taketurns.worker.commands import Fetch, GiveBack, Listen, Park, Start
from taketurns.worker.line import Line
from taketurns.worker.tenant import Tenant
from taketurns.worker.turns import Turns


def test_an_empty_queue_is_listened_to() -> None:
    """A queue believed empty costs one subscription and no fetch."""
    turns: Turns[str] = Turns()
    turns.add("q")
    assert turns.decide(slots=2, free=2, now=0.0) == [Listen("q")]
    assert turns.decide(slots=2, free=2, now=1.0) == []


@pytest.mark.parametrize(("backlog", "count"), [(None, 1), (1, 1), (100, 2)])
def test_a_backlogged_queue_starts_parked(backlog: int | None, count: int) -> None:
    """A queue found with messages is fetched from, never subscribed to; one of unknown backlog is probed."""
    turns: Turns[str] = Turns()
    turns.add("q", backlog=backlog)
    assert turns.decide(slots=2, free=0, now=0.0) == [Fetch("q", count)]


def test_a_turn_of_quick_tasks_takes_more_messages() -> None:
    """The quantum grows to max_credit once tasks are known to be quick."""
    model = Model(slots=1, max_credit=4)
    model.turns.add("a", backlog=100)
    model.publish("a", 100, seconds=0.0001)
    model.run_dry()
    assert len(model.finished) == 100
    assert model.worst_hand > 2


def test_tenants_take_turns() -> None:
    """With equal tasks, no tenant is ever more than one quantum ahead of another backlogged one."""
    model = Model(slots=2, max_credit=1)
    for queue in "abc":
        model.publish(queue, 30)
        model.turns.add(queue, backlog=30)
    model.run_dry()
    done: Counter[str] = Counter()
    for message in model.starts[:80]:
        done[message.queue] += 1
        assert max(done.values()) - min(done[queue] for queue in "abc") <= 2
    assert len(model.finished) == 90


def test_a_newcomer_is_next() -> None:
    """A tenant that was idle gets the next slot that frees, whatever the others have waiting."""
    model = Model(slots=2)
    model.turns.add("new")
    for number in range(50):
        model.publish(f"q{number}", 20)
        model.turns.add(f"q{number}", backlog=20)
    model.settle_down()
    for _ in range(30):
        model.finish()
        model.settle_down()
    started = len(model.starts)
    model.publish("new")
    model.settle_down()
    model.finish()
    assert model.starts[started].queue == "new"


def busy(patience: float) -> Model:
    """Return a worker whose one slot is busy for another 0.1 s, with others beside it and a backlog to serve."""
    model = Model(slots=1, patience=patience)
    model.turns.add("new")
    model.publish("a", 20, seconds=0.1)
    model.turns.add("a", backlog=20)
    model.run_until(0.5)
    return model


def test_a_newcomer_goes_where_a_slot_frees_first() -> None:
    """A full worker gives its message back, and asks for it when a slot of its own has freed, before all others."""
    model = busy(patience=0.01)
    model.publish("new", 2)
    model.settle_down()
    assert model.ready("new") == 2
    started = len(model.starts)
    model.finish()
    model.settle_down()
    assert [message.queue for message in model.starts[started:]] == ["new"]
    model.run_dry()
    assert max(model.deliveries.values()) == 2
    assert len(model.finished) == 22


def test_a_newcomer_whose_slot_frees_in_a_moment_stays() -> None:
    """Nothing is given back for less than the worker's patience."""
    model = busy(patience=0.2)
    model.publish("new", 2)
    model.settle_down()
    assert model.ready("new") < 2
    model.run_dry()
    assert max(model.deliveries.values()) == 1


def test_a_newcomer_does_not_stay_for_longer_than_that() -> None:
    """The slot that was to free in a moment may not: its task takes longer than others of its kind."""
    model = busy(patience=0.2)
    model.publish("new")
    model.settle_down()
    assert model.ready("new") == 0
    deadline = model.turns.next_deadline()
    assert deadline is not None
    assert 0.0 < deadline - model.now <= 0.2
    model.now = deadline
    model.act()
    assert model.ready("new") == 1
    assert model.turns.next_deadline() is None


def passed_on() -> tuple[Model, Message]:
    """Return a worker with a slot that freed while the newcomer's message was with another full worker."""
    model = busy(patience=0.01)
    model.publish("new")
    model.settle_down()
    message = model.queues["new"].popleft()
    model.running[0] = (model.now + 0.001, model.running[0][1])
    model.finish()
    model.settle_down()
    assert not model.running
    assert "new" in model.subscribed
    return model, message


def test_a_newcomer_on_its_way_through_full_workers_has_a_slot_that_frees_meanwhile() -> None:
    """The other worker gives it back a moment later, and then it starts here, before all others."""
    model, message = passed_on()
    model.take_back(message)
    model.settle_down()
    assert [each.queue for _, each in model.running] == ["new"]
    model.run_dry()
    assert len(model.finished) == 21


def test_a_newcomer_that_has_started_elsewhere_keeps_a_slot_free_for_a_moment_only() -> None:
    """An empty queue does not tell whether its message will come back."""
    model, _ = passed_on()
    deadline = model.turns.next_deadline()
    assert deadline is not None
    assert 0.0 < deadline - model.now <= 0.005
    model.now = deadline
    model.act()
    assert [each.queue for _, each in model.running] == ["a"]
    model.run_dry()
    assert len(model.finished) == 20


def test_a_newcomer_served_elsewhere_keeps_no_slot_free() -> None:
    """When another worker has had its message, the slot that frees is the next in line's."""
    model = busy(patience=0.01)
    model.publish("new")
    model.settle_down()
    model.queues["new"].clear()
    model.turns.charge("new", 0.3, 1)
    started = len(model.starts)
    model.finish()
    assert [message.queue for message in model.starts[started:]] == ["a"]
    model.run_dry()
    assert "new" in model.subscribed


def test_turns_that_cost_too_much_do_not_shorten_those_of_others() -> None:
    """What is left of them goes back; kept, it would fill the hand until their next turns, which are far away."""
    model = Model(slots=2, max_credit=8)
    for number in range(40):
        queue = str(number)
        for _ in range(10):
            model.publish(queue, 7, seconds=0.001)
            model.publish(queue, seconds=0.2)  # a hiccup in each turn
        model.turns.add(queue, backlog=80)
    model.run_until(5)
    turns = model.turns_taken[40:]  # after the first ones, in which nobody knows what tasks take
    assert sum(turns) / len(turns) > 4
    assert max(model.deliveries.values()) <= 8
    model.run_dry()
    assert len(model.finished) == 40 * 80


def test_a_turn_that_costs_a_little_more_than_expected_goes_on() -> None:
    """Else about every second turn would be cut short, and what is left of it delivered twice."""
    model = Model(slots=2, max_credit=32)
    jitter = Random(7)
    for number in range(40):
        for _ in range(100):
            model.publish(str(number), seconds=jitter.choice([0.001, 0.003]))
        model.turns.add(str(number), backlog=100)
    model.run_dry()
    assert len(model.finished) == 40 * 100
    assert model.deliveries.total() <= 1.02 * 40 * 100


def test_a_turn_in_which_the_machine_stood_still_goes_back_or_goes_on() -> None:
    """Its tasks seem long from then on: held back without being given back they would fill the hand for a round."""
    model = Model(slots=2, max_credit=32)
    for number in range(100):
        queue = str(number)
        if number % 5 == 0:
            model.publish(queue, 2, seconds=0.021)
        model.publish(queue, 30, seconds=0.001)
        model.turns.add(queue, backlog=30)
    model.run_until(2)
    assert sum(model.turns_taken) / len(model.turns_taken) > 10
    model.run_dry()
    assert len(model.finished) == 100 * 30 + 20 * 2


def test_those_near_their_turn_are_found_behind_outdated_entries() -> None:
    """Many that were charged at once have left their old places at the head of the line."""
    line: Line[str] = Line()
    tenants = [Tenant[str](str(number), virtual=number) for number in range(500)]
    for tenant in tenants:
        line.join(tenant)
    for tenant in tenants[:400]:
        line.leave(tenant)
        tenant.virtual += 1000
        line.join(tenant)
    found = {tenant.queue for tenant in line.about_first(100)}
    assert {tenant.queue for tenant in tenants[400:]} <= found


def test_what_others_have_served_is_not_fetched() -> None:
    """A queue that others have emptied, as they tell, is listened to: little by little while all slots are busy."""
    model = Model(slots=1)
    model.turns.add("own", backlog=20)
    model.publish("own", 20, seconds=0.1)
    model.run_until(0.5)
    for queue in ("b", "c", "d"):
        model.turns.add(queue, backlog=5)
        model.queues[queue] = deque()
        model.turns.charge(queue, 0.1, 1)
        assert model.turns.tenants[queue].backlog == 4
        model.turns.charge(queue, 0.5, 4)
    model.act()
    assert len(model.subscribed) == 1
    model.turns.listed("d", 5)  # the others took less than was believed
    model.queues["d"] = deque([Message("d", 1000 + number) for number in range(5)])
    model.run_until(1.6)
    assert sum(message.queue == "d" for message in model.finished) > 1
    assert len(model.subscribed) >= 2
    model.run_dry()
    assert len(model.finished) == 25


def test_in_the_steady_state_nothing_is_delivered_twice() -> None:
    """Backlogged tenants cost one delivery a task."""
    model = Model(slots=2)
    for queue in map(str, range(40)):
        model.publish(queue, 25, seconds=0.001)
        model.turns.add(queue, backlog=25)
    model.run_dry()
    assert len(model.finished) == 1000
    assert set(model.deliveries.values()) == {1}


def test_a_lone_tenant_fills_every_slot() -> None:
    """A tenant that finds the worker idle gets all of it, although it was subscribed to with a credit of one."""
    model = Model(slots=4)
    model.turns.add("a")
    model.settle_down()
    model.publish("a", 50)
    model.settle_down()
    assert len(model.running) == 4


def test_a_long_task_does_not_hold_up_its_tenants_next_one() -> None:
    """A task published while the tenant's first one runs gets a free slot at once."""
    model = Model(slots=2)
    model.turns.add("a")
    model.settle_down()
    model.publish("a", seconds=1000)
    model.settle_down()
    model.publish("a")
    model.settle_down()
    assert len(model.running) == 2


def test_a_paused_queue_gives_its_hand_back() -> None:
    """Pausing gives back what is held, ends the subscription and fetches nothing; resuming goes on in order."""
    model = Model(slots=1)
    model.publish("a", 10)
    model.turns.add("a", backlog=10)
    model.settle_down()
    model.turns.park("a", Park.PAUSED)
    model.settle_down()
    assert model.ready("a") == 9
    assert not model.turns.in_hand
    model.finish()
    model.settle_down()
    assert not model.running
    assert not model.turns.holds("a")
    model.turns.unpark("a", Park.PAUSED)
    model.run_dry()
    assert [message.number for message in model.starts] == list(range(1, 11))


def test_a_park_ends_by_itself() -> None:
    """A draining queue is served again once its time is over."""
    model = Model(slots=1)
    model.publish("a", 1)
    model.turns.add("a", backlog=1)
    model.turns.park("a", Park.DRAINING, 5.0)
    model.settle_down()
    assert not model.starts
    assert model.turns.next_deadline() == 5.0
    model.now = 5.0
    model.settle_down()
    assert len(model.starts) == 1


def test_a_limit_that_was_taken_away_holds_no_queue() -> None:
    """Whether its tenant was throttled after a message or before the first one that this worker saw."""
    model = Model(slots=1)
    model.publish("q", 1)
    model.turns.add("q", backlog=1)
    model.turns.park("q", Park.THROTTLED, 3600.0)
    model.settle_down()
    assert not model.starts
    model.turns.unlimited("q")
    model.settle_down()
    assert len(model.starts) == 1


def test_a_refused_message_goes_back_and_holds_no_slot() -> None:
    """A throttled tenant's message is given back, its queue parked, and others use the slot."""
    turns: Turns[str] = Turns()
    turns.add("limited", backlog=5)
    assert turns.decide(slots=2, free=1, now=0.0) == [Fetch("limited", 2)]
    turns.fetched("limited", "m1", 4)
    assert turns.decide(slots=2, free=1, now=0.0) == [Start("m1")]
    turns.refused("m1", 10.0)
    turns.fetched("limited", "m2", 3)  # was asked for before the limit was known
    assert turns.decide(slots=1, free=1, now=0.0) == [GiveBack("m1"), GiveBack("m2")]
    assert turns.parked("limited") == {Park.THROTTLED}
    assert not turns.holds("limited")
    turns.add("free", backlog=1)
    assert Fetch("free", 1) in turns.decide(slots=1, free=1, now=0.1)
    assert Fetch("limited", 1) in turns.decide(slots=1, free=1, now=10.0)


def test_a_postponed_message_is_held_and_its_slot_used() -> None:
    """A message that may start in a moment keeps its place in the hand; another tenant's runs meanwhile."""
    turns: Turns[str] = Turns()
    turns.add("soon", backlog=1)
    turns.add("other", backlog=1)
    turns.decide(slots=1, free=1, now=0.0)
    turns.fetched("soon", "s", 0)
    turns.fetched("other", "o", 0)
    assert Start("s") in turns.decide(slots=1, free=1, now=0.0)
    turns.postponed("s", 0.02)
    assert Start("o") in turns.decide(slots=1, free=1, now=0.0)
    assert turns.in_hand == turns.running == 1
    assert turns.next_deadline() == 0.02
    turns.settled("o", 0.01)
    assert Start("s") not in turns.decide(slots=1, free=1, now=0.01)
    assert Start("s") in turns.decide(slots=1, free=1, now=0.02)


def test_who_waits_for_a_slot_is_known() -> None:
    """A slot is wanted for a message that may start or is asked for, not for one that may not start yet."""
    turns: Turns[str] = Turns()
    assert not turns.wants_slot(0.0)
    turns.add("q", backlog=1)
    assert turns.wants_slot(0.0), "by who is in the line"
    assert turns.decide(slots=1, free=1, now=0.0) == [Fetch("q", 1)]
    assert turns.wants_slot(0.0), "by what is asked for"
    turns.fetched("q", "m", 0)
    assert turns.wants_slot(0.0), "by what has come"
    assert Start("m") in turns.decide(slots=1, free=1, now=0.0)
    assert not turns.wants_slot(0.0)
    turns.postponed("m", 5.0)
    assert not turns.wants_slot(0.0)
    assert turns.wants_slot(5.0)


def test_no_second_message_is_fetched_for_a_token() -> None:
    """While a tenant's message is held for its token no other one of it is fetched, though the queue has more."""
    turns: Turns[str] = Turns()
    turns.add("limited", backlog=5)
    assert turns.decide(slots=1, free=1, now=0.0) == [Fetch("limited", 1)]
    turns.throttle("limited", 0.5)
    turns.fetch_failed("limited")
    assert turns.decide(slots=1, free=1, now=0.5) == [Fetch("limited", 1)]
    turns.fetched("limited", "m", 4)
    assert turns.decide(slots=1, free=1, now=0.5) == [Start("m")]
    turns.postponed("m", 0.52)
    assert turns.decide(slots=1, free=1, now=0.5) == []
    assert turns.decide(slots=1, free=1, now=0.52) == [Start("m")]


def test_a_removed_queue_is_forgotten_when_its_tasks_end() -> None:
    """A queue that is gone leaves nothing behind, and may come back."""
    model = Model(slots=1)
    model.publish("a", 3)
    model.turns.add("a", backlog=3)
    model.settle_down()
    model.turns.remove("a")
    model.settle_down()
    assert "a" not in model.turns
    assert model.turns.holds("a"), "its task still runs"
    model.finish()
    assert not model.turns.holds("a")
    assert len(model.turns) == 0
    model.turns.add("a", backlog=2)
    model.run_dry()
    assert len(model.finished) == 3


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    slots=st.integers(1, 4),
    max_credit=st.sampled_from([2, 8, 32]),
    patience=st.sampled_from([inf, 0.005]),
    tenants=st.integers(1, 50),
    random=st.randoms(use_true_random=True),
)
def test_no_slot_stays_free_while_a_message_waits(
    slots: int, max_credit: int, patience: float, tenants: int, random: Random
) -> None:
    """Whatever tasks take and turn out to take: when all answers have come, every slot runs one, or none is left."""
    model = Model(slots=slots, max_credit=max_credit, patience=patience)
    for number in range(tenants):
        queue, seconds = str(number), random.choice([0.001, 0.1, 0.2, 0.5])
        for _ in range(1000 // tenants):
            model.publish(queue, seconds=seconds * random.uniform(0.5, 1.5))
        model.turns.add(queue, backlog=1000 // tenants)
        model.turns.set_weight(queue, random.choice([1.0, 2.0, 4.0]))
    model.settle_down()
    while model.running:
        waiting = model.turns.in_hand + sum(map(len, model.queues.values()))
        assert len(model.running) == slots or not waiting
        model.finish(model.running.index(min(model.running, key=lambda each: each[0])))
        model.settle_down()
    assert len(model.finished) == tenants * (1000 // tenants)


QUEUES = st.sampled_from("abcdef")
ACTIONS = st.one_of(
    st.tuples(st.just("publish"), QUEUES, st.integers(1, 12)),
    st.tuples(st.just("answer"), QUEUES, st.just(0)),
    st.tuples(st.just("finish"), QUEUES, st.integers(0, 3)),
    st.tuples(st.just("pause"), QUEUES, st.just(0)),
    st.tuples(st.just("resume"), QUEUES, st.just(0)),
    st.tuples(st.just("weight"), QUEUES, st.integers(1, 5)),
    st.tuples(st.just("end turn"), QUEUES, st.just(0)),
    st.tuples(st.just("elsewhere"), QUEUES, st.integers(-1, 2)),
    st.tuples(st.just("taken"), QUEUES, st.just(0)),
    st.tuples(st.just("given back"), QUEUES, st.just(0)),
    st.tuples(st.just("remove"), QUEUES, st.just(0)),
    st.tuples(st.just("add"), QUEUES, st.integers(-1, 3)),
)


@hypothesis_settings(max_examples=400, deadline=None)
@given(
    slots=st.integers(1, 4),
    patience=st.sampled_from([inf, 0.005, 0.0]),
    actions=st.lists(ACTIONS, max_size=120),
)
def test_whatever_happens(  # one branch for each kind of event
    slots: int, patience: float, actions: list[tuple[str, str, int]]
) -> None:
    """Nothing is lost, doubled, starved or hoarded, and no slot idles, in any order of events."""
    model = Model(slots=slots, patience=patience)
    paused: set[str] = set()
    elsewhere: list[Message] = []
    for queue in "abcdef":
        model.turns.add(queue)
    for action, queue, number in actions:
        if action == "publish":
            model.publish(queue, number)
        elif action == "answer" and model.answers:
            model.answer()
        elif action == "finish" and model.running:
            model.finish(number % len(model.running))
        elif action == "pause":
            paused.add(queue)
            model.turns.park(queue, Park.PAUSED)
        elif action == "resume":
            paused.discard(queue)
            model.turns.unpark(queue, Park.PAUSED)
        elif action == "end turn":
            model.turns.end_turn(queue)
        elif action == "elsewhere":
            model.turns.charge(queue, number / 100, number)
        elif action == "taken" and model.ready(queue):
            elsewhere.append(model.queues[queue].popleft())
        elif action == "given back" and elsewhere:
            model.take_back(elsewhere.pop())
        elif action == "weight":
            model.turns.set_weight(queue, number)
        elif action == "remove":
            model.turns.remove(queue)
            paused.discard(queue)
        elif action == "add":
            model.turns.add(queue, backlog=None if number < 0 else number)
            if queue in paused:
                model.turns.park(queue, Park.PAUSED)
        model.act()
        assert model.turns.in_hand <= slots + model.max_credit
        assert len(model.running) == model.turns.running
    model.settle_down()
    model.wait()
    served = [queue for queue in model.turns if queue not in paused]
    if any(model.ready(queue) for queue in served):
        assert len(model.running) == slots, "a slot idles while a message waits"
    for queue in "abcdef":
        model.turns.add(queue, backlog=None)
        model.turns.unpark(queue, Park.PAUSED)
    for message in elsewhere:
        model.take_back(message)
    model.run_dry()
    assert sorted(model.finished, key=lambda each: each.number) == sorted(
        set(model.starts), key=lambda each: each.number
    )
    assert len(model.starts) == len(model.finished), "something was started twice"
    assert not any(model.queues.values()), "something was left behind"
