"""A worker among others, by what it tells and hears."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from taketurns.registry.usage import Spent, Totals
from taketurns.worker.commands import Fetch, Start
from taketurns.worker.fleet import Fleet
from taketurns.worker.turns import Turns


def test_an_exchange_that_failed_loses_nothing() -> None:
    """What others did is known afterwards, and what this worker did is told, after a slow answer of Redis too.

    Else a worker would go on to fetch from thousands of queues that others had emptied before, and find nothing.
    """
    turns: Turns[str] = Turns(max_credit=32, turn_seconds=0.02)
    dispatcher: Any = SimpleNamespace(turns=turns)
    turns.add("own", backlog=10)
    assert turns.decide(slots=1, free=1, now=0) == [Fetch("own", 1)]
    turns.fetched("own", "message", 9)
    assert turns.decide(slots=1, free=1, now=0) == [Start("message")]
    turns.add("others", backlog=10)
    fleet = Fleet("me", most=100)
    fleet.meet(["me", "other"])
    assert set(fleet.report(dispatcher).watched) == {"own", "others"}
    started = Spent(20_000, 1)  # by estimate
    fleet.take_in(Totals({"own": started, "others": Spent(0, 0)}, ()), dispatcher)
    turns.settled("message", 0.25)
    not_heard, again = fleet.report(dispatcher), fleet.report(dispatcher)
    assert not_heard.used == {"own": Spent(230_000, 0)}
    assert (again.number, again.used) == (not_heard.number, not_heard.used)
    fleet.take_in(Totals({"own": Spent(250_000, 1), "others": Spent(1_000, 10)}, ()), dispatcher)
    assert turns.tenants["others"].backlog == 0
    assert turns.tenants["own"].backlog == 9
    assert fleet.report(dispatcher).number != not_heard.number
