"""A tenant's metadata: any JSON object, within limits. Pure: no I/O."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from taketurns.errors import InvalidInput

LARGEST: Final = 16 * 1024
"""Bytes of its JSON text in UTF-8, without spaces between the tokens, at most."""

DEEPEST: Final = 32
"""Objects and lists inside of each other, at most."""

_ACCEPTED: Final = (
    f"a JSON object of at most {LARGEST // 1024} KiB, {DEEPEST} levels deep at most, without NaN and Infinity"
)


def checked_metadata(value: object) -> dict[str, Any]:
    """Return a copy of a tenant's metadata that shares nothing with it.

    Raises:
        InvalidInput: it is no JSON object, or too large.
    """
    if not isinstance(value, dict) or not _is_json(value, DEEPEST):
        raise InvalidInput(value, _ACCEPTED, field="metadata")
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        size = len(text.encode())
    except ValueError as error:  # a lone surrogate, or a number of too many digits
        raise InvalidInput(value, _ACCEPTED, field="metadata") from error
    if size > LARGEST:
        raise InvalidInput(value, f"{_ACCEPTED}; this has {size} bytes", field="metadata")
    copy: dict[str, Any] = json.loads(text)
    return copy


def read_metadata(text: str) -> dict[str, Any]:
    """Read metadata that is written as JSON.

    Raises:
        InvalidInput: it is no JSON object, or too large.
    """
    try:
        return checked_metadata(json.loads(text))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(text, _ACCEPTED, field="metadata") from error


def _is_json(value: object, levels: int) -> bool:
    """Tell whether JSON has a form for the value, and gives it back as it was."""
    match value:
        case float():
            return math.isfinite(value)
        case None | str() | int():
            return True
        case list():
            return levels > 0 and all(_is_json(each, levels - 1) for each in value)
        case dict():
            return levels > 0 and all(
                isinstance(key, str) and _is_json(each, levels - 1) for key, each in value.items()
            )
        case _:
            return False
