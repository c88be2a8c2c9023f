"""By what lock a singleton task runs, and when one that waits asks again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from taketurns.locks.locks import LockName
from taketurns.locks.singleton import WAITING_HEADER, lock_of, waited


def task(singleton: object) -> Any:
    return SimpleNamespace(name="shop.work", singleton=singleton)


def test_all_of_one_name_have_one_lock() -> None:
    """Whatever their arguments are; each tenant has its own."""
    lock = LockName("acme", "singleton", "shop.work")
    assert lock_of(task(True), "acme", [1], {}) == lock_of(task(True), "acme", [], {"x": 2}) == lock
    assert lock_of(task(True), "bolt", [1], {}) != lock


def test_those_with_the_same_arguments_have_one_lock() -> None:
    """A message's list is a call's tuple, and the order of keywords says nothing."""
    kwargs = {"b": 2, "a": {"d": 4, "c": 3}}
    lock = lock_of(task("args"), "acme", [1, "x"], kwargs)
    assert lock == lock_of(task("args"), "acme", (1, "x"), {"a": {"c": 3, "d": 4}, "b": 2})
    others = [([1], kwargs), (["1", "x"], kwargs), ([1, "x"], {}), ([1, "x", kwargs], {}), (["x", 1], kwargs)]
    assert lock not in [lock_of(task("args"), "acme", *other) for other in others]
    assert len(lock_of(task("args"), "acme", ["x" * 1000], {}).name) < 100


@pytest.mark.parametrize(
    ("headers", "since", "seconds"),
    [
        (None, 1000.0, 0.25),
        ({}, 1000.0, 0.25),
        ({WAITING_HEADER: 999.5}, 999.5, 0.25),
        ({WAITING_HEADER: 960}, 960, 10.0),
        ({WAITING_HEADER: 0}, 0, 30.0),
        ({WAITING_HEADER: 2000}, 1000.0, 0.25),
        ({WAITING_HEADER: "soon"}, 1000.0, 0.25),
        ({WAITING_HEADER: float("nan")}, 1000.0, 0.25),
    ],
)
def test_who_waits_asks_the_more_seldom_the_longer(
    headers: dict[str, Any] | None, since: float, seconds: float
) -> None:
    """After a quarter of its wait so far; what is no time, or is to come, counts as none."""
    assert waited(headers, 1000.0) == (since, seconds)
