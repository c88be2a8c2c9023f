"""The workloads, by their names, in the order in which they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.workloads import (
    costs,
    limits,
    newcomer,
    noisy,
    pace,
    records,
    shares,
    start,
    throttled,
    throughput,
    zipf,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.bench import Bench

WORKLOADS: Final[Mapping[str, Callable[[Bench], None]]] = {
    "newcomer": newcomer.run,
    "noisy": noisy.run,
    "shares": shares.run,
    "limits": limits.run,
    "throttled": throttled.run,
    "zipf": zipf.run,
    "throughput": throughput.run,
    pace.NAME: pace.run,
    records.NAME: records.run,
    costs.NAME: costs.run,
    start.NAME: start.run,
}

COMPARED: Final = tuple(name for name in WORKLOADS if name not in {costs.NAME, start.NAME})
"""Those that ``make bench`` runs by default; the others, which compare nothing, are ``make costs``."""
