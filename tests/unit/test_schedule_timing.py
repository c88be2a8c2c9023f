"""When schedules are due, and which runs are made up for. No clock, no server."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from taketurns.errors import InvalidInput
from taketurns.schedules.missed import plan
from taketurns.schedules.timing import LONGEST, Cron, Interval, check_timing

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def following(cron: Cron, start: str, count: int) -> list[str]:
    """Return the next due times, in UTC."""
    times, moment = [], at(start)
    for _ in range(count):
        moment = cron.after(moment)
        times.append(f"{datetime.fromtimestamp(moment, UTC):%d %H:%M}")
    return times


def test_intervals_count_from_their_anchor() -> None:
    """They don't drift with when somebody looks, and end for the first time after a whole one."""
    every = Interval(30, 1000)
    assert [every.after(moment) for moment in (0, 1000, 1029.9, 1030, 1031)] == [1030, 1030, 1030, 1060, 1060]
    assert every.latest(1030, 1100, 10) == [1030, 1060, 1090]
    assert every.latest(1030, 1100, 2) == [1060, 1090]
    assert every.latest(1030, 1029, 2) == []


def test_cron_expressions_go_by_their_time_zone() -> None:
    cron = Cron("30 2 * * *", BERLIN)
    assert following(cron, "2026-01-10T00:00Z", 2) == ["10 01:30", "11 01:30"]
    assert following(cron, "2026-07-10T00:00Z", 2) == ["10 00:30", "11 00:30"]
    assert following(Cron("0 9 * * mon-fri", UTC), "2026-11-27T10:00Z", 2) == ["30 09:00", "01 09:00"]
    assert following(Cron("0 0 1 jan,jul *", UTC), "2026-01-01T00:00Z", 1) == ["01 00:00"]


def test_a_time_that_the_clock_leaves_out_is_an_hour_later() -> None:
    assert following(Cron("30 2 * * *", BERLIN), "2026-03-28T12:00Z", 2) == ["29 01:30", "30 00:30"]


def test_an_hour_that_comes_twice_counts_twice_only_for_each_hour() -> None:
    """On 25 October 2026, 03:00 in Berlin becomes 02:00 again, at 01:00 UTC."""
    each = following(Cron("*/20 * * * *", BERLIN), "2026-10-25T00:20Z", 5)
    assert each == ["25 00:40", "25 01:00", "25 01:20", "25 01:40", "25 02:00"]
    once = following(Cron("30 2 * * *", BERLIN), "2026-10-24T12:00Z", 2)
    assert once == ["25 00:30", "26 01:30"]
    spring = following(Cron("*/20 * * * *", BERLIN), "2026-03-29T00:20Z", 3)
    assert spring == ["29 00:40", "29 01:00", "29 01:20"]


def test_time_goes_on_whatever_the_clock_shows() -> None:
    """From any minute around the changes of the clocks, the next due time is a later one."""
    for text in ("20 2 * * *", "*/7 1-3 * * *", "10 2 * * sun", "* * * * *", "59 * 25 10 *"):
        cron = Cron(text, BERLIN)
        for start in ("2026-03-28T23:00Z", "2026-10-24T23:00Z"):
            for minute in range(240):
                moment = at(start) + 60 * minute
                assert cron.after(moment) > moment, (text, moment)


@pytest.mark.parametrize("text", ["*/5 * * * *", "0 3 * * *", "0 0 29 2 *", "*/10 0 1 1 *"])
def test_the_last_due_times_are_those_that_come_one_after_another(text: str) -> None:
    cron = Cron(text, BERLIN)
    first, until = cron.after(at("2023-12-31T12:00Z")), at("2024-04-01T12:03Z")
    times = [first]
    while (due := cron.after(times[-1])) <= until:
        times.append(due)
    assert cron.latest(first, until, 7) == times[-7:]
    assert cron.latest(first, first, 7) == [first]


@pytest.mark.parametrize(
    ("cron", "every", "zone", "field"),
    [
        (None, None, None, "cron"),
        ("* * * * *", "30s", None, "cron"),
        ("* * * *", None, None, "cron"),
        ("* * * * * *", None, None, "cron"),
        ("60 * * * *", None, None, "cron"),
        ("*/0 * * * *", None, None, "cron"),
        ("-1 * * * *", None, None, "cron"),
        ("@daily", None, None, "cron"),
        ("0 0 31 2 *", None, None, "cron"),
        ("٣ * * * *", None, None, "cron"),
        ("1" * 300 + " * * * *", None, None, "cron"),
        (5, None, None, "cron"),
        ("* * * * *", None, "Europe/Nowhere", "timezone"),
        ("* * * * *", None, "../etc/passwd", "timezone"),
        ("* * * * *", None, "", "timezone"),
        ("* * * * *", None, 3, "timezone"),
        (None, "0s", None, "every"),
        (None, "367d", None, "every"),
        (None, "1.5h", None, "every"),
        (None, "30", None, "every"),
        (None, 30, None, "every"),
        (None, "30s", "UTC", "timezone"),
    ],
)
def test_what_says_no_time_names_its_field(cron: object, every: object, zone: object, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_timing(cron, every, zone)
    assert caught.value.field == field


def test_what_says_a_time_is_accepted() -> None:
    for cron in ("* * * * *", "*/5  8-17 1,15 jan-mar MON-FRI", "0 0 29 2 mon"):
        check_timing(cron, None, "Europe/Berlin")
    for every in ("1s", "90m", "366d"):
        check_timing(None, every, None)
    assert LONGEST == 366 * 86_400


EVERY_10 = Interval(10, 0)


def planned(
    missed: str, now: float, first: float = 100, grace: float = 5
) -> tuple[list[float], float, float | None]:
    found = plan(EVERY_10, first, now, missed, grace=grace, most=3)  # type: ignore[arg-type]  # one of the three
    return list(found.runs), found.following, found.missed


@pytest.mark.parametrize("missed", ["skip", "once", "all"])
def test_a_run_in_time_is_a_run_in_time(missed: str) -> None:
    assert planned(missed, 100.2) == ([100], 110, None)


def test_skip_leaves_out_what_is_too_late() -> None:
    assert planned("skip", 106) == ([], 110, 100)
    assert planned("skip", 144) == ([140], 150, 130)
    assert planned("skip", 148) == ([], 150, 140)


def test_once_has_one_run_for_all() -> None:
    assert planned("once", 106) == ([100], 110, None)
    assert planned("once", 148) == ([140], 150, None)


def test_all_has_each_run_up_to_a_number() -> None:
    assert planned("all", 118) == ([100, 110], 120, None)
    assert planned("all", 148) == ([120, 130, 140], 150, 110)
