"""What a task may say of its progress."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from taketurns.errors import InvalidInput
from taketurns.records.recorder import Recorder


class Written:
    """Records that keep what is written to them."""

    def __init__(self) -> None:
        self.data: list[Any] = []

    def write(self, steps: dict[str, list[Any]]) -> None:
        self.data += [step.data for some in steps.values() for step in some]


def tell(done: Any, total: Any, note: Any = "") -> list[Any]:
    written: Any = Written()
    task: Any = SimpleNamespace(request=SimpleNamespace(id="t"), recorded=True)
    Recorder(written, enabled=True).progress(task, "acme", done, total, note)
    return list(written.data)


def test_a_note_that_is_none_is_left_out() -> None:
    assert tell(1, 2, None) == tell(1, 2) == [{"done": 1, "total": 2}]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ((10**400, 2), "done"),
        ((-1, 2), "done"),
        ((float("nan"), 2), "done"),
        ((True, 2), "done"),
        ((1, 10**400), "total"),
        ((1, "2"), "total"),
        ((1, 2, 3), "note"),
    ],
)
def test_what_is_no_progress_is_refused_by_the_name_of_its_field(given: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        tell(*given)
    assert refused.value.field == field
