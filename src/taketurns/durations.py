"""Durations as people write them, such as ``30s`` or ``2h``. Pure."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

UNIT_SECONDS: Final[Mapping[str, int]] = MappingProxyType({"s": 1, "m": 60, "h": 3600, "d": 86_400})
"""Seconds of each unit."""

_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)


def seconds_of(text: object) -> int | None:
    """Return the seconds of a whole number with one of the units; None: it is of another form."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    return int(match[1]) * UNIT_SECONDS[match[2]] if match else None
