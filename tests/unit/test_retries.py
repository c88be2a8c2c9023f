"""When a task is tried again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taketurns.errors import InvalidInput
from taketurns.retries import RETRY_HEADER, RetryOptions, declared_options, submitted_options


def test_each_retry_waits_twice_as_long_up_to_the_ceiling() -> None:
    options = RetryOptions(retry_backoff=0.1, retry_backoff_max=1.0, retry_jitter=False)
    assert [options.delay(retries, 0.5) for retries in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_without_any_options_it_is_one_second_and_ten_minutes_at_most() -> None:
    assert [RetryOptions().delay(retries, 1.0) for retries in (0, 1, 20)] == [1.0, 2.0, 600.0]


@given(st.integers(min_value=0, max_value=10**6), st.floats(min_value=0, max_value=1))
def test_jitter_takes_a_part_of_the_time(retries: int, random: float) -> None:
    whole = RetryOptions(retry_jitter=False).delay(retries, random)
    assert RetryOptions().delay(retries, random) == whole * random


def test_what_was_submitted_comes_before_what_is_declared() -> None:
    task = SimpleNamespace(retry_backoff=True, retry_backoff_max=30, retry_jitter=False)
    request = SimpleNamespace(headers={RETRY_HEADER: {"max_retries": 0, "retry_backoff_max": 5}})
    assert submitted_options(request).over(declared_options(task)) == RetryOptions(0, 1.0, 5, False)
    assert declared_options(SimpleNamespace(retry_backoff=False)) == RetryOptions(retry_backoff=1.0)


def test_options_are_taken_out_of_those_of_a_submission() -> None:
    options: dict[str, Any] = {"max_retries": 7, "retry_jitter": False, "priority": "low"}
    taken = RetryOptions.taken_from(options)
    assert options == {"priority": "low"}
    assert taken.header() == {"max_retries": 7, "retry_jitter": False}
    assert RetryOptions.read(taken.header()) == taken
    assert RetryOptions.taken_from({}).header() == {}


@pytest.mark.parametrize("header", [None, 7, [], "x", {"max_retries": "many"}, {"retry_backoff": -1}])
def test_a_header_that_is_none_of_ours_asks_for_nothing(header: Any) -> None:
    assert RetryOptions.read(header) == RetryOptions()


@pytest.mark.parametrize(
    ("option", "value", "accepted"),
    [
        ("max_retries", -1, "a whole number from 0 to 1000000"),
        ("max_retries", 1.5, "a whole number from 0 to 1000000"),
        ("max_retries", 10**20, "a whole number from 0 to 1000000"),
        ("max_retries", 10**400, "a whole number from 0 to 1000000"),
        ("max_retries", True, "a whole number from 0 to 1000000"),
        ("retry_backoff", 0, "above 0, at most 3342336"),
        ("retry_backoff", "1s", "above 0"),
        ("retry_backoff_max", float("inf"), "above 0"),
        ("retry_jitter", 1, "True or False"),
    ],
)
def test_a_value_that_is_none_is_refused_by_name(option: str, value: Any, accepted: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{option}: .*{accepted}"):
        RetryOptions.taken_from({option: value})
