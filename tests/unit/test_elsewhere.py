"""What tenants had on other workers, by what all have told."""

from __future__ import annotations

from taketurns.registry.usage import Spent
from taketurns.worker.elsewhere import Elsewhere


def test_only_what_others_added_since_the_mark_is_charged() -> None:
    """Not what there was when the tenant began to wait, and not what this worker told itself."""
    elsewhere = Elsewhere()
    elsewhere.enter(["a"])
    assert list(elsewhere.unmarked(10)) == ["a"]
    assert elsewhere.take_in({"a": Spent(5_000, 5)}) == {}
    assert not list(elsewhere.unmarked(10))
    elsewhere.tell({"a": Spent(300, 1), "unknown": Spent(7, 1)})
    assert elsewhere.take_in({"a": Spent(5_300, 6)}) == {}
    elsewhere.tell({"a": Spent(300, 1)})
    assert elsewhere.take_in({"a": Spent(7_600, 9)}) == {"a": Spent(2_000, 2)}
    assert elsewhere.take_in({"a": Spent(7_100, 9)}) == {
        "a": Spent(-500, 0)
    }  # a task was shorter than estimated


def test_a_mark_lasts_until_the_tenant_is_asked_for_again() -> None:
    """Who is far from its turn is asked for seldom, and is charged for all of the time between."""
    elsewhere = Elsewhere()
    elsewhere.take_in({"a": Spent(0, 0), "b": Spent(0, 0)})
    elsewhere.take_in({"b": Spent(100, 1)})
    elsewhere.tell({"a": Spent(50, 1)})
    assert elsewhere.take_in({"a": Spent(350, 4), "b": Spent(100, 1)}) == {"a": Spent(300, 3)}


def test_who_comes_back_owes_nothing_for_the_time_between() -> None:
    """What a tenant had elsewhere while nothing of it waited here is not charged here."""
    elsewhere = Elsewhere()
    elsewhere.take_in({"a": Spent(0, 0)})
    elsewhere.take_in({"b": Spent(0, 0)})
    elsewhere.enter(["a"])
    assert elsewhere.take_in({"a": Spent(9_000, 9)}) == {}
    assert elsewhere.take_in({"a": Spent(9_100, 10)}) == {"a": Spent(100, 1)}


def test_who_begins_anew_all_the_time_is_charged() -> None:
    """A tenant that a limit parks again and again, or that submits one task after the other, pays like all others."""
    elsewhere = Elsewhere()
    elsewhere.take_in({"a": Spent(0, 0)})
    for total in range(1, 5):
        elsewhere.enter(["a"])
        assert elsewhere.take_in({"a": Spent(total * 100, total)}) == {"a": Spent(100, 1)}


def test_lost_totals_are_no_credit() -> None:
    """After Redis has lost its data the totals begin anew, and so do the marks."""
    elsewhere = Elsewhere()
    elsewhere.take_in({"a": Spent(9_000, 9)})
    assert elsewhere.take_in({"a": Spent(100, 1)}) == {}
    assert elsewhere.take_in({"a": Spent(200, 2)}) == {"a": Spent(100, 1)}


def test_marks_that_are_lost_are_asked_for_again() -> None:
    """What there was until then is charged to nobody."""
    elsewhere = Elsewhere()
    elsewhere.take_in({"a": Spent(0, 0)})
    elsewhere.lose()
    assert list(elsewhere.unmarked(10)) == ["a"]
    assert elsewhere.take_in({"a": Spent(700, 7)}) == {}
    assert elsewhere.take_in({"a": Spent(800, 8)}) == {"a": Spent(100, 1)}


def test_queues_that_are_gone_cost_nothing() -> None:
    """Marks are kept of queues that there are, and no others are asked for."""
    elsewhere = Elsewhere()
    elsewhere.take_in({"a": Spent(0, 0), "gone": Spent(0, 0)})
    elsewhere.enter(["b", "gone too"])
    elsewhere.keep({"a", "b"})
    assert list(elsewhere.unmarked(10)) == ["b"]
    assert elsewhere.take_in({"a": Spent(1, 1), "gone": Spent(1, 1)}) == {"a": Spent(1, 1)}
