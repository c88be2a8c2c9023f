"""Numbers as people give them, of which JSON and clocks can make something. Pure."""

from __future__ import annotations

import math
from typing import TypeGuard


def is_finite(value: object) -> TypeGuard[float]:
    """Tell whether a value is a finite number that a float can hold, and no bool."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int of more than 308 digits
        return False
