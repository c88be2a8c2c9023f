"""Events, and what of a history is new to whom."""

from __future__ import annotations

import json

import pytest

from taketurns.errors import InvalidInput
from taketurns.live.event import Event, History, checked_id, is_later

STORED = {
    "state": "RUNNING",
    "e:1000-1": "started 2.500 1 w1@host",
    "e:999-0": "queued 1.500",
    "progress": 'progress 3.500 {"done":1}',
    "progress_id": "1000-2",
}


def test_a_history_is_in_the_order_of_its_ids() -> None:
    history = History.of("t", STORED)
    assert [event.kind for event in history.events] == ["queued", "started", "progress"]
    assert json.loads(history.events[1].json) == {
        "event": "started",
        "id": "1000-1",
        "task_id": "t",
        "at": 2.5,
        "worker": "w1@host",
        "attempt": 1,
    }
    assert not history.is_over
    assert History.of("t", {**STORED, "state": "DEAD"}).is_over


def test_what_is_new_comes_after_the_last_that_was_seen() -> None:
    history = History.of("t", STORED)
    assert [event.id for event in history.after("999-0")] == ["1000-1", "1000-2"]
    assert history.after("1000-2") == ()
    assert history.after(None) == history.events
    assert (history.known("1000-2"), history.known("1000-3"), history.known(None)) == ("1000-2", None, None)


def test_ids_are_compared_as_numbers() -> None:
    assert is_later("1000-0", "999-9")
    assert is_later("1000-10", "1000-9")
    assert not is_later("1000-9", "1000-9")


@pytest.mark.parametrize("text", ["1", "x-1", "1-", "1-2-3", "\u0661-\u0662", "1-1\n", "9" * 20 + "-1"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"after: .* such as"):
        checked_id(text, of="after")


def test_only_ends_are_final() -> None:
    kinds = ("completed", "failed", "cancelled", "expired", "dead", "ignored")
    assert all(Event(kind).is_final for kind in kinds)
    assert not any(Event(kind).is_final for kind in ("connected", "queued", "delayed", "retrying", "gap"))
