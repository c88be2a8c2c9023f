"""Values that are deep."""

from __future__ import annotations

from typing import Any


def nested(levels: int) -> list[Any]:
    """Return so many lists inside of each other."""
    inner: list[Any] = []
    for _ in range(levels - 1):
        inner = [inner]
    return inner
