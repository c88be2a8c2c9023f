"""Rates as text."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taketurns.errors import InvalidRate
from taketurns.limits.rate import RateLimit, parse_rate

NUMBERS = st.integers(min_value=1, max_value=999_999_999)


@pytest.mark.parametrize(
    ("text", "rate", "interval"),
    [
        ("10/60s", RateLimit(10, 60.0), 6.0),
        ("10/5m", RateLimit(10, 300.0), 30.0),
        ("4000/3h", RateLimit(4000, 10800.0), 2.7),
        ("1/1h", RateLimit(1, 3600.0), 3600.0),
        ("1/1d", RateLimit(1, 86400.0), 86400.0),
        ("10/60s:5", RateLimit(10, 60.0, 5), 6.0),
        ("10/60s:1", RateLimit(10, 60.0), 6.0),
    ],
)
def test_a_rate_is_read(text: str, rate: RateLimit, interval: float) -> None:
    """Count, period and burst are read; without a burst the rate is smooth."""
    assert parse_rate(text) == rate
    assert parse_rate(text).interval == pytest.approx(interval)


@given(count=NUMBERS, length=NUMBERS, unit=st.sampled_from("smhd"), burst=NUMBERS | st.none())
@example(count=1, length=1_234_567, unit="s", burst=None)
@example(count=1, length=999_999_999, unit="d", burst=999_999_999)
def test_what_is_written_is_read_again(count: int, length: int, unit: str, burst: int | None) -> None:
    """The text of every rate that can be read leads to the same rate."""
    rate = parse_rate(f"{count}/{length}{unit}" + (f":{burst}" if burst is not None else ""))
    assert parse_rate(str(rate)) == rate


@pytest.mark.parametrize(
    ("text", "shortest"),
    [("10/60s", "10/1m"), ("10/3600s:2", "10/1h:2"), ("1/48h", "1/2d"), ("1/90s:1", "1/90s")],
)
def test_the_text_is_short(text: str, shortest: str) -> None:
    """A rate is written in the largest unit that fits, without a burst of one."""
    assert str(parse_rate(text)) == shortest


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "10",
            "10/",
            "/60s",
            "10/60",
            "10/s",
            "10/60x",
            "ten/60s",
            "10/60s:",
            "10/60s:five",
            "10/60s:5:5",
        ),
        *("0/60s", "10/0s", "10/60s:0", "-1/60s", "+1/60s", "1.5/60s", "10/1.5s", "10/1e3s", "1_0/60s"),
        *(" 10/60s", "10/60s ", "10/60s\n", "10 / 60s", "10/60S", "\u0661\u0660/60s", "1²/60s"),
        *("1000000000/1s", "1/1000000000s", "1/1s:1000000000"),
        *(None, 10, 10.0, b"10/60s", ["10/60s"], True),
    ],
)
def test_anything_else_is_refused(text: object) -> None:
    """What is not of the form is refused, with the field, the value and the accepted form."""
    with pytest.raises(InvalidRate, match="count/period") as caught:
        parse_rate(text)
    assert caught.value.field == "rate_limit"
    assert caught.value.value == text


@given(st.text())
def test_no_text_raises_another_error(text: str) -> None:
    """Reading either works or raises InvalidRate, whatever the text."""
    try:
        rate = parse_rate(text)
    except InvalidRate:
        return
    assert rate.interval > 0
    assert rate.burst >= 1


def test_the_error_names_the_callers_field() -> None:
    """A rate in another field is refused under that field's name."""
    with pytest.raises(InvalidRate, match=r"^task_rate_limits: 'often' is not valid") as caught:
        parse_rate("often", field="task_rate_limits")
    assert caught.value.field == "task_rate_limits"
