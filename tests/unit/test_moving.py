"""What changes in a message that moves between an old queue and its tenant's, and in which order messages move."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taketurns.errors import InvalidInput
from taketurns.migration.envelopes import for_old_queue, for_tenant_queue
from taketurns.migration.moving import checked_old_queue
from taketurns.migration.rounds import in_turns
from taketurns.tenant_key import Whose

DUE = "2026-01-01T00:00:00+00:00"


def test_backlogs_are_merged_in_rounds() -> None:
    """A large one's second message comes after everybody's first one."""
    assert list(in_turns({"a": 3, "b": 1, "none": 0, "c": 2})) == ["a", "b", "c", "a", "c", "a"]


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 20), max_size=8))
def test_each_is_named_as_often_as_it_has_messages(waiting: dict[str, int]) -> None:
    """No more and no less."""
    named = list(in_turns(waiting))
    assert {name: named.count(name) for name in waiting} == waiting
    assert len(named) == sum(waiting.values())


def test_an_old_queue_gets_what_an_ordinary_worker_understands() -> None:
    """Nothing of the delay queues is left; a delayed one has Celery's own eta; the tenant's header stays."""
    headers = {
        "id": "1",
        "taketurns_tenant": "acme",
        "taketurns_eta": DUE,
        "taketurns_d3": True,
        "x-death": [],
    }
    properties = {"correlation_id": "1", "priority": 1, "application_headers": headers}
    moved = for_old_queue(properties, default_priority=None)
    assert moved == {
        "correlation_id": "1",
        "priority": 0,
        "application_headers": {"id": "1", "taketurns_tenant": "acme"},
    }
    assert for_old_queue(properties, default_priority=None, due=DUE)["application_headers"]["eta"] == DUE


@pytest.mark.parametrize(
    ("priority", "default", "old"), [(1, None, 0), (1, 5, 5), (None, 5, 5), (2, 5, 2), (0, 5, 0)]
)
def test_who_chose_no_priority_has_that_of_ordinary_tasks(priority: Any, default: Any, old: int) -> None:
    """The one that tenants' tasks have by default would overtake ordinary ones, or come behind them."""
    assert for_old_queue({"priority": priority}, default_priority=default)["priority"] == old


@pytest.mark.parametrize(
    ("priority", "default", "ours"),
    [(None, None, 1), (0, None, 1), (5, 5, 1), (2, None, 2), (9, None, 2), (1, 5, 1), (0, 5, 1)],
)
def test_a_tenants_queue_has_three_priorities(priority: Any, default: Any, ours: int) -> None:
    """What the app's tasks have by default is the normal one, and nothing is above high."""
    moved = for_tenant_queue({"priority": priority}, Whose("acme", "acme"), default_priority=default)
    assert moved["priority"] == ours
    assert moved["application_headers"] == {"taketurns_tenant": "acme"}


@pytest.mark.parametrize("name", ["", "usersequence_acme", "usersequence.dead"])
def test_a_queue_of_ours_is_no_old_queue(name: str) -> None:
    """Its messages would go round in circles."""
    with pytest.raises(InvalidInput, match=r"queue: .* accepted is the name of a queue of the app"):
        checked_old_queue(name)
    assert checked_old_queue("celery") == "celery"
