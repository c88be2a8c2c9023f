"""The ids of tasks: what they may be."""

from __future__ import annotations

import pytest

from taketurns.errors import InvalidInput
from taketurns.options import checked_id


@pytest.mark.parametrize("task_id", ["", "x" * 256, "é" * 128, "\ud800", 5, None])
def test_ids_that_no_message_can_carry_are_refused(task_id: object) -> None:
    with pytest.raises(InvalidInput, match=r"^task_id: .*1 to 255 bytes"):
        checked_id(task_id)


def test_an_id_may_be_any_other_text() -> None:
    assert checked_id("é" * 127) == "é" * 127
