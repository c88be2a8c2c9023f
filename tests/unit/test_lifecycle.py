"""The steps of a task, and what a record tells of them."""

from __future__ import annotations

import pytest

from taketurns.errors import InvalidInput
from taketurns.records.events import read
from taketurns.records.lifecycle import Step, attempt_of, is_over
from taketurns.records.record import TaskRecord
from taketurns.records.recorder import checked_task_tags


def test_steps_are_in_the_order_of_the_tasks_life_whoever_tells_them_first() -> None:
    """A first attempt's steps come before those of the second, and all of them before those of a replay."""
    life = [
        Step("id", "queued", 1.0),
        Step("id", "started", 2.0),
        Step("id", "retrying", 3.0),
        Step("id", "started", 4.0, retries=1),
        Step("id", "failed", 5.0, retries=1),
        Step("id", "queued", 6.0, replays=1),
        Step("id", "started", 7.0, replays=1),
        Step("id", "completed", 8.0, replays=1),
    ]
    orders = [step.order for step in life]
    assert orders == sorted(set(orders))
    assert [step.is_final for step in life] == [False] * 4 + [True, False, False, True]


@pytest.mark.parametrize(
    ("last_over", "is_done"),
    [
        ("", False),
        (attempt_of("a1", retries=2, replays=1), True),
        (attempt_of("a1", retries=3, replays=1), True),
        (attempt_of("a1", retries=0, replays=2), True),
        (attempt_of("a1", retries=1, replays=1), False),
        (attempt_of("a1", retries=9, replays=0), False),
        (attempt_of("b2", retries=9, replays=9), False),
    ],
)
def test_an_attempt_is_over_with_a_later_one_of_the_same_submission(last_over: str, is_done: bool) -> None:
    assert is_over(attempt_of("a1", retries=2, replays=1), last_over) is is_done


def test_an_event_tells_what_happened_and_when() -> None:
    event = Step("id", "progress", 1767225600.12345, data={"done": 3, "total": 9}).event()
    assert read(event) == {"event": "progress", "at": 1767225600.123, "done": 3, "total": 9}


def test_what_is_queued_for_later_is_delayed_until_then() -> None:
    record = TaskRecord.read(
        "acme",
        "id",
        {"state": "QUEUED", "submitted": "10.5", "due": "20.0", "name": "shop.mail", "priority": "2"},
    )
    assert record.state(19.9) == "DELAYED"
    assert record.state(20.1) == "QUEUED"
    assert (record.priority, record.queue, record.attempts) == ("high", "usersequence_acme", 0)


def test_a_record_is_read_with_all_that_was_told() -> None:
    record = TaskRecord.read(
        "acme",
        "id",
        {
            "state": "FAILURE",
            "submitted": "1",
            "started": "2",
            "ended": "3",
            "worker": "w@h",
            "attempts": "2",
            "tags": '["a", "b"]',
            "error": "ValueError\nno such image\nat all",
            "progress": 'progress 2.500 {"done":1}',
            "queue": "celery",
        },
    )
    assert record.error == ("ValueError", "no such image\nat all")
    assert (record.progress is not None and record.progress.done, record.tags) == (1, ("a", "b"))
    assert (record.started_at, record.ended_at, record.worker, record.queue) == (2, 3, "w@h", "celery")


@pytest.mark.parametrize("tags", ["text", [""], ["\ud800"], ["x" * 101], [1], ["a"] * 21, {"a": "b"}, 7])
def test_tags_that_are_none_are_refused(tags: object) -> None:
    with pytest.raises(InvalidInput, match=r"^tags: .*at most 20 different texts"):
        checked_task_tags(tags)


def test_tags_are_kept_once_each_in_their_order() -> None:
    assert checked_task_tags(("b", "a", "b")) == ["b", "a"]
    assert checked_task_tags(None) == []
