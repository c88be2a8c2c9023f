"""The plan of a delay: which levels of the ladder a message waits in."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taketurns.delays import (
    LEVELS,
    LONGEST,
    STEP,
    exchange_name,
    left_late,
    plan,
    without_deaths,
    without_traces,
)
from taketurns.errors import InvalidInput


def waits(exchange: str, headers: dict[str, bool]) -> list[float]:
    """Return the seconds of each level that a message goes through, as the exchanges would send it."""
    names = [exchange_name(level) for level in range(LEVELS)]
    top = names.index(exchange)
    return [STEP * 2**level for level in range(top, -1, -1) if headers[f"taketurns_d{level}"]]


@given(st.floats(min_value=0, max_value=LONGEST))
def test_a_delay_is_never_early_and_at_most_a_little_late(seconds: float) -> None:
    """The levels of a plan add up to the delay, rounded up by less than 0.8 % or one step."""
    total = math.fsum(waits(*plan(seconds)))
    assert total >= seconds - 1e-6
    assert total - seconds <= max(STEP, seconds * 0.008) + 1e-6


@given(st.floats(min_value=0, max_value=LONGEST))
def test_a_delay_takes_eight_hops_at_most(seconds: float) -> None:
    """However long the delay, the message is stored eight times at most, and at least once."""
    assert 1 <= len(waits(*plan(seconds))) <= 8


@pytest.mark.parametrize(
    ("seconds", "levels"),
    [
        (0, [0.1]),
        (0.01, [0.1]),
        (0.1, [0.1]),
        (0.3, [0.2, 0.1]),
        (1, [0.8, 0.2]),
        (25.5, [12.8, 6.4, 3.2, 1.6, 0.8, 0.4, 0.2, 0.1]),
        (25.6, [25.6]),
        (25.61, [25.6, 0.2]),
        (LONGEST, [STEP * 2**level for level in range(24, 16, -1)]),
    ],
)
def test_plans(seconds: float, levels: list[float]) -> None:
    """Some delays and the levels they are made of."""
    assert waits(*plan(seconds)) == pytest.approx(levels)


@given(st.floats(min_value=0, max_value=LONGEST))
def test_a_message_finds_its_way_at_every_level(seconds: float) -> None:
    """Each level's exchange chooses by a header that is there, true or false."""
    exchange, headers = plan(seconds)
    assert set(headers) == {f"taketurns_d{level}" for level in range(len(headers))}
    assert exchange == exchange_name(len(headers) - 1)
    assert headers[f"taketurns_d{len(headers) - 1}"] is True


@pytest.mark.parametrize("seconds", [-1, LONGEST + 1, math.inf, math.nan])
def test_what_can_not_be_waited_for_is_refused(seconds: float) -> None:
    """A delay beyond the ladder is an error at the call that says how long it may be."""
    with pytest.raises(InvalidInput, match=r"38\.7 days") as caught:
        plan(seconds)
    assert caught.value.field == "countdown"


def test_traces_of_the_ladder_are_removed_and_nothing_else() -> None:
    """A message that goes through the ladder again must not look like one that goes round in circles."""
    _, bits = plan(12.3)
    traces = {**bits, "x-death": [{"queue": "usersequence.delay.100"}], "x-first-death-queue": "q"}
    kept = {"taketurns_tenant": "acme", "x-own": 1, "d5": True, "id": "1"}
    assert without_traces({**kept, **traces, "x-last-death-reason": "expired"}) == kept
    assert without_deaths({**kept, **traces, "x-last-death-reason": "expired"}) == {**kept, **bits}
    assert without_traces(None) == {}


DUE = datetime(2030, 1, 1, 12, 0, 0, 250_000, UTC)


def died(second: int, *earlier: int) -> list[dict[str, Any]]:
    """Return what RabbitMQ notes of a message that left a queue at this second, and others before."""
    return [{"queue": "q", "time": datetime(2030, 1, 1, 12, 0, each)} for each in (second, *earlier)]  # noqa: DTZ001  # as py-amqp


@pytest.mark.parametrize("eta", [DUE.isoformat(), "2030-01-01T12:00:00.25", "2030-01-01T14:00:00.25+02:00"])
def test_who_left_the_ladder_a_second_too_late_may_be_a_copy(eta: str) -> None:
    assert not left_late({"taketurns_eta": eta, "x-death": died(1)})  # at 1.999 s at the latest
    assert left_late({"taketurns_eta": eta, "x-death": died(2)})
    assert left_late({"taketurns_eta": eta, "x-death": died(2, 0)})
    assert not left_late({"taketurns_eta": eta, "x-death": died(0, 5)})


NO_TIMES: list[Any] = [None, "soon", 5, [], {}, b"\xff"]
NO_DEATHS: list[Any] = [None, [], "x", {}, [1], [{}], [{"time": "x"}]]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-death": died(5)},
        {"taketurns_eta": DUE.isoformat()},
        *({"taketurns_eta": eta, "x-death": died(5)} for eta in NO_TIMES),
        *({"taketurns_eta": DUE.isoformat(), "x-death": deaths} for deaths in NO_DEATHS),
    ],
)
def test_of_what_says_nothing_of_its_way_nothing_is_supposed(headers: dict[str, Any]) -> None:
    assert not left_late(headers)
