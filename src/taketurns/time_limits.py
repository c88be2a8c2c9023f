"""Which time limits a task may have. Celery takes any and fails where they are used, in the worker's loop. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taketurns.errors import InvalidInput
from taketurns.finite import is_finite

if TYPE_CHECKING:
    from collections.abc import Mapping


def is_time_limit(value: object) -> bool:
    """Tell whether a value is a time limit: a positive number of seconds, or None for no limit."""
    if value is None:
        return True
    return is_finite(value) and value > 0


def check_time_limits(options: Mapping[str, object]) -> None:
    """Check the options ``time_limit`` and ``soft_time_limit``.

    Raises:
        InvalidInput: one of them is not a time limit, or the soft one could never act.
    """
    for name in ("time_limit", "soft_time_limit"):
        if not is_time_limit(options.get(name)):
            raise InvalidInput(options[name], "a positive number of seconds, or None", field=name)
    hard, soft = options.get("time_limit"), options.get("soft_time_limit")
    if hard is not None and soft is not None and soft > hard:  # type: ignore[operator]  # both are numbers
        raise InvalidInput(soft, f"at most the time_limit, {hard:g} s", field="soft_time_limit")
