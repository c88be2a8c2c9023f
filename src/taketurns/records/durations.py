"""How long tasks waited and ran lately, as percentiles. Pure.

Each duration is counted in a bucket a tenth wider than the one before, in the way of HdrHistogram (G. Tene), so a
percentile is wrong by a twentieth at most, and a tenant's hour fits into some hundred numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WINDOW: Final = 1800
"""Seconds of a stretch whose durations are counted together; told are the present one and the one before."""

_WIDTH: Final = 1.1


@dataclass(frozen=True, slots=True)
class Percentiles:
    """What half, 95 % and 99 % of some durations don't exceed, in seconds.

    Attributes:
        count: how many durations there are.
        p50: half of them are at most this.
        p95: 95 % are.
        p99: 99 % are.
    """

    count: int
    p50: float
    p95: float
    p99: float


def window_of(now: float) -> int:
    """Return the number of the stretch of a time."""
    return int(now // WINDOW)


def percentiles(windows: Iterable[Mapping[str, str]], kind: str) -> Percentiles | None:
    """Return the percentiles of the durations of a kind, ``w`` or ``r``; None: there are none."""
    counts: Counter[int] = Counter()
    for window in windows:
        for name, count in window.items():
            of, _, bucket = name.partition(":")
            if of == kind:
                counts[int(bucket)] += int(count)
    total = counts.total()
    return Percentiles(total, *(_at(counts, total * each) for each in (0.5, 0.95, 0.99))) if total else None


def _at(counts: Counter[int], rank: float) -> float:
    buckets = sorted(counts)
    seen = accumulate(counts[bucket] for bucket in buckets)
    bucket = next(bucket for bucket, number in zip(buckets, seen, strict=True) if number >= rank)
    # The middle of the bucket; the first one is that of all below a millisecond and a tenth.
    return round(_WIDTH**bucket * math.sqrt(_WIDTH) / 1000, 4)
