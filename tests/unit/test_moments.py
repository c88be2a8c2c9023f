"""Moments as operators write them, and the dead letters that are meant by them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taketurns.deadletters.letter import DeadLetter
from taketurns.deadletters.moments import read_moment
from taketurns.deadletters.selection import Selection
from taketurns.errors import InvalidInput

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
NOON = "2026-01-31T12:00:00+00:00"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (None, None),
        ("45s", NOW - timedelta(seconds=45)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31 10:30", datetime(2026, 1, 31, 10, 30, tzinfo=UTC)),
        ("2026-01-31T10:30:00Z", datetime(2026, 1, 31, 10, 30, tzinfo=UTC)),
        ("2026-01-31T10:30:00+02:00", datetime(2026, 1, 31, 8, 30, tzinfo=UTC)),
    ],
)
def test_a_moment_is_read(text: str | None, moment: datetime | None) -> None:
    """In ISO 8601, which is UTC unless it says otherwise, or as how long ago."""
    assert read_moment(text, now=NOW, field="since") == moment


@pytest.mark.parametrize(
    "text", ["", "2", "h", "-2h", "2 h", "2w", "yesterday", "31.1.2026", "999999d", "٢h"]
)
def test_another_form_is_refused(text: str) -> None:
    """With the field, the value and the accepted form."""
    with pytest.raises(InvalidInput, match=r"^--since: .* accepted is a time in ISO 8601, .*2h or 7d"):
        read_moment(text, now=NOW, field="--since")


@given(st.text())
def test_no_text_raises_another_error(text: str) -> None:
    """Reading either works or raises InvalidInput."""
    try:
        moment = read_moment(text, now=NOW, field="since")
    except InvalidInput:
        return
    assert moment is not None
    assert moment.tzinfo is UTC


def letter(died_at: str) -> DeadLetter:
    return DeadLetter.read({"taketurns_dead_at": died_at, "taketurns_dead_cause": "failed"}, b"")


@pytest.mark.parametrize(
    ("since", "until", "meant"),
    [
        (NOW, None, True),
        (NOW + timedelta(seconds=1), None, False),
        (None, NOW, False),
        (None, NOW + timedelta(seconds=1), True),
        (NOW - timedelta(hours=1), NOW + timedelta(hours=1), True),
        (NOW.replace(tzinfo=None), None, True),
    ],
)
def test_letters_are_meant_by_when_they_died(
    since: datetime | None, until: datetime | None, meant: bool
) -> None:
    """From the one time on, before the other; a time without a zone is in UTC."""
    assert Selection(since=since, until=until).has(letter(NOON)) is meant


@pytest.mark.parametrize("died_at", ["", "some day", "0001-01-01T00:00:00+23:00"])
def test_a_letter_of_no_known_time_is_not_meant(died_at: str) -> None:
    """If a time is asked for; else it is."""
    assert not Selection(since=datetime(1970, 1, 1, tzinfo=UTC)).has(letter(died_at))
    assert Selection().has(letter(died_at))


def test_times_between_which_nothing_is_are_refused() -> None:
    """And so are those that are none."""
    with pytest.raises(InvalidInput, match=r"until: .* a time after since"):
        Selection(since=NOW, until=NOW)
    with pytest.raises(InvalidInput, match="since: '2h'"):
        Selection(since="2h")  # type: ignore[arg-type]
