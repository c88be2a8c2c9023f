"""Events as Redis keeps them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taketurns.records.events import EVENTS_IN_ENTRY, entry_of, of_entry, of_record, read, written

WORKERS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.integers(1, 99), WORKERS)
def test_a_start_is_read_as_it_was_written(attempt: int, worker: str) -> None:
    """Whatever the worker is called: its name comes last."""
    text = written("started", 1764364364.1239, {"worker": worker, "attempt": attempt})
    assert read(text) == {"event": "started", "at": 1764364364.124, "worker": worker, "attempt": attempt}


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text()))
def test_what_else_is_told_is_read_as_it_was_written(data: dict[str, object]) -> None:
    data = {name: value for name, value in data.items() if name not in ("event", "at")}
    assert read(written("failed", 2.5, data)) == {"event": "failed", "at": 2.5, **data}


def test_a_start_is_so_short_that_its_record_stays_in_one_piece() -> None:
    worker = "celery@shop-worker-6d4cf56db6-x7k2p"
    assert len(written("started", 1764364364.1239, {"worker": worker, "attempt": 100})) <= 64


def test_the_events_of_an_entry_have_ids_in_their_order_before_those_of_the_next_one() -> None:
    told = json.dumps(["t", "queued 1.000", "u", "queued 1.000"])
    entries = ["999-7", "1000-0", "1000-1"]
    events = [event for entry_id in entries for event in of_entry(entry_id, told)]
    assert events[2:4] == [("1000-0", "t", "queued 1.000"), ("1000-1", "u", "queued 1.000")]
    assert [entry_of(event_id) for event_id, *_ in events] == [each for each in entries for _ in (1, 2)]
    assert entry_of(f"1000-{EVENTS_IN_ENTRY - 1}") == "1000-0"
    stored = {f"e:{event_id}": str(number) for number, (event_id, *_) in enumerate(events)}
    assert [text for _, text in of_record(dict(reversed(stored.items())))] == [*"012345"]


@pytest.mark.parametrize(
    "text", ["", "queued", "queued x", "started 1.0 x", 'failed 1.0 {"x"', "started 1.0 1"]
)
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(text)


@pytest.mark.parametrize("told", ["", "{}", "5", '["t"]', "[1, 2]", '[["t", "queued 1.000"]]'])
def test_what_is_no_entry_is_refused(told: str) -> None:
    """Somebody else may write on our channel."""
    with pytest.raises(ValueError, match=r"."):
        of_entry("1-1", told)
