"""What becomes of a task by how those stand that it depends on, and how that is written in queues and messages."""

from __future__ import annotations

import pytest

from taketurns.dependencies.judging import judge
from taketurns.dependencies.waiting import after_name, checked_parents, parent_of
from taketurns.errors import InvalidInput


def test_a_task_may_run_when_all_have_succeeded() -> None:
    verdict = judge({"a": "SUCCESS", "b": "SUCCESS"})
    assert (verdict.because, verdict.waits_for, verdict.left) == ("", None, ())


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("FAILURE", "has failed"),
        ("CANCELLED", "was cancelled"),
        ("EXPIRED", "has expired"),
        ("DEAD", "could not be run"),
        ("IGNORED", "was ignored"),
    ],
)
def test_a_task_fails_with_any_that_has_not_succeeded(state: str, words: str) -> None:
    verdict = judge({"a": "RUNNING", "b": state, "c": "SUCCESS"})  # type: ignore[dict-item]
    assert verdict.because == f"it depends on task b, which {words}"


def test_it_waits_for_what_is_known_first_and_forgets_what_has_succeeded() -> None:
    verdict = judge({"lost": None, "done": "SUCCESS", "blocked": "BLOCKED", "again": "RETRYING"})
    assert verdict.waits_for == "blocked"
    assert verdict.left == ("lost", "blocked", "again")
    assert judge({"lost": None}).waits_for == "lost"


def test_it_stays_where_it_is_while_that_one_has_not_ended() -> None:
    assert judge({"a": "QUEUED", "b": "RUNNING"}, at="b").waits_for == "b"
    assert judge({"a": "QUEUED", "b": "SUCCESS"}, at="b").waits_for == "a"
    assert judge({"a": "QUEUED", "b": None}, at="b").waits_for == "a"


def test_a_queue_tells_for_whom_it_is() -> None:
    for tenant, parent in (("acme", "p1"), ("a.b/c".partition("/")[0], "x/y.z"), ("a" * 128, "p" * 100)):
        name = after_name(tenant, parent)
        assert len(name) <= 255
        assert parent_of(name) == (tenant, parent)
    for name in (
        "usersequence_acme",
        "usersequence.after.",
        "usersequence.after.acme",
        "usersequence.after./p",
    ):
        assert parent_of(name) is None


def test_ids_are_taken_once_and_a_text_is_no_list() -> None:
    assert checked_parents(["a", "b", "a"]) == ["a", "b"]
    assert checked_parents(None) == checked_parents(()) == []
    for given in ("a", {"a": 1}, ["a", None], ["é" * 51], ["\ud800"], ["x"] + [str(n) for n in range(100)]):
        with pytest.raises(InvalidInput, match="depends_on: "):
            checked_parents(given)
