"""Percentiles of how long tasks waited and ran."""

from __future__ import annotations

import math
import random

import pytest

from taketurns.records.durations import percentiles


def bucket(seconds: float) -> int:
    """Where the script counts a duration."""
    return math.floor(math.log(max(seconds * 1000, 1)) / math.log(1.1))


def test_percentiles_are_right_to_a_twentieth() -> None:
    seconds = sorted(random.Random(1).expovariate(2.0) + 0.01 for _ in range(10_000))
    windows: list[dict[str, str]] = [{}, {}]
    for number, each in enumerate(seconds):
        window, name = windows[number % 2], f"w:{bucket(each)}"
        window[name] = str(int(window.get(name, 0)) + 1)
    found = percentiles(windows, "w")
    assert found is not None
    assert found.count == 10_000
    for told, rank in ((found.p50, 0.5), (found.p95, 0.95), (found.p99, 0.99)):
        assert told == pytest.approx(seconds[int(rank * 10_000)], rel=0.06)
    assert percentiles(windows, "r") is None
