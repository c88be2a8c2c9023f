"""Rate limits as text: ``"10/60s:5"`` ⇄ RateLimit. Pure: no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

from taketurns.durations import UNIT_SECONDS
from taketurns.errors import InvalidRate

_RATE = re.compile(r"([0-9]{1,9})/([0-9]{1,9})(s|m|h|d)(?::([0-9]{1,9}))?", re.ASCII)
_ACCEPTED = (
    "count/period[:burst] with numbers from 1 to 999999999, such as 10/60s, 100/1m, 4000/3h, 1/1d or 10/60s:5"
)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """``count`` starts in each ``period`` (whole seconds), of which ``burst`` may come at once.

    A burst of 1 is smooth: the starts are evenly spaced, [interval][taketurns.limits.rate.RateLimit.interval]
    seconds apart.
    """

    count: int
    period: float
    burst: int = 1

    @property
    def interval(self) -> float:
        """Seconds between two starts at the full rate."""
        return self.period / self.count

    def __str__(self) -> str:
        unit = next((unit for unit in "dhm" if self.period % UNIT_SECONDS[unit] == 0), "s")
        burst = f":{self.burst}" if self.burst > 1 else ""
        return f"{self.count}/{self.period / UNIT_SECONDS[unit]:.0f}{unit}{burst}"


def parse_rate(text: object, *, field: str | None = None) -> RateLimit:
    """Read a rate such as ``"10/60s"``, ``"4000/3h"``, ``"1/1h"`` or, with a burst, ``"10/60s:5"``.

    Args:
        text: the rate.
        field: the field's name for the error, if it is not ``rate_limit``.

    Raises:
        InvalidRate: it is not of that form, or a number in it is zero.
    """
    match = _RATE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidRate(text, _ACCEPTED, field=field)
    count, length, unit, burst = match.groups()
    rate = RateLimit(
        int(count), float(int(length) * UNIT_SECONDS[unit]), int(burst) if burst is not None else 1
    )
    if rate.count < 1 or rate.period <= 0 or rate.burst < 1:
        raise InvalidRate(text, _ACCEPTED, field=field)
    return rate
