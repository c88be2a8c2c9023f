"""Whether arguments from outside fit a task."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import Celery

from taketurns.arguments import DEEPEST, check_arguments
from taketurns.errors import InvalidInput

app = Celery("arguments", broker="memory://")


@app.task
def resize(image_id: str, size: int = 128, *, crop: bool = False) -> None:
    """Have one parameter of each kind."""


@app.task(bind=True)
def bound(self: Any, image_id: str) -> None:
    """Have a self that is nobody's argument."""


@app.task(bind=True, autoretry_for=(OSError,))
def retried(self: Any, image_id: str) -> None:
    """Be wrapped by Celery."""


@app.task
def anything(*args: Any, **kwargs: Any) -> None:
    """Take whatever comes."""


@app.task
def nothing() -> None:
    """Take nothing."""


@pytest.mark.parametrize(
    ("task", "args", "kwargs"),
    [
        (resize, ["i-1"], {}),
        (resize, ["i-1", 64], {"crop": True}),
        (resize, [], {"image_id": "i-1"}),
        (bound, ["i-1"], {}),
        (bound, [], {"image_id": "i-1"}),
        (retried, ["i-1"], {}),
        (anything, [1, [2, {"three": None}]], {"self": 1, "no identifier": 2}),
        (nothing, [], {}),
    ],
)
def test_what_fits_passes(task: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Arguments that Python would accept are accepted, and a bound task's self is not counted."""
    check_arguments(task.run, args, kwargs)


@pytest.mark.parametrize(
    ("task", "args", "kwargs", "field", "accepted"),
    [
        (resize, [], {}, "args", r"\(image_id, size=128, \*, crop=False\) \(missing .*'image_id'\)"),
        (resize, ["i-1", 64, True], {}, "args", r"\(too many positional arguments\)"),
        (resize, ["i-1"], {"colour": 1}, "kwargs", r"unexpected keyword argument 'colour'"),
        (resize, ["i-1"], {"image_id": "i-2"}, "kwargs", r"multiple values for argument 'image_id'"),
        (bound, [], {"self": "x"}, "kwargs", r"\(image_id\)"),
        (retried, ["i-1", "i-2"], {}, "args", r"\(image_id\)"),
        (nothing, [1], {}, "args", r"\(\) \(too many"),
    ],
)
def test_what_does_not_fit_names_its_field(
    task: Any, args: list[Any], kwargs: dict[str, Any], field: str, accepted: str
) -> None:
    """Arguments that don't fit name args or kwargs, and say what the task takes."""
    with pytest.raises(InvalidInput, match=accepted) as refusal:
        check_arguments(task.run, args, kwargs)
    assert refusal.value.field == field


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_know_are_refused(number: str) -> None:
    """Python reads NaN and Infinity from JSON; other languages' workers and clients can't."""
    with pytest.raises(InvalidInput, match="no NaN and no Infinity") as refusal:
        check_arguments(anything.run, [], {"x": [{"y": json.loads(number)}]})
    assert refusal.value.field == "kwargs"


def test_objects_that_kombu_would_decode_are_refused() -> None:
    """``__type__`` with ``__value__`` would reach the task as another object than was sent, or not at all."""
    with pytest.raises(InvalidInput, match="__type__ and __value__") as refusal:
        check_arguments(anything.run, [[{"__type__": "uuid", "__value__": "bad"}]], {})
    assert refusal.value.field == "args"
    check_arguments(anything.run, [{"__type__": "uuid"}], {})


def test_nesting_has_an_end() -> None:
    """What is nested too deeply is refused here, instead of failing somewhere inside Celery."""
    deep: list[Any] = []
    for _ in range(DEEPEST - 2):
        deep = [deep]
    check_arguments(anything.run, [deep], {})
    with pytest.raises(InvalidInput, match="nested at most") as refusal:
        check_arguments(anything.run, [[deep]], {})
    assert refusal.value.field == "args"
