"""What the limiter costs a worker's loop: ``python tests/benchmarks/limiter.py``.

Prints the microseconds of one call, median and 99th percentile, for each kind of limit and for what is around it.
Needs the Redis that TAKETURNS_REDIS_URL names; it has keys of its own there, which expire.
"""

from __future__ import annotations

import argparse
import statistics
import time
import uuid
from typing import TYPE_CHECKING

from taketurns.limits.limiter import Limiter, Limits
from taketurns.limits.rate import parse_rate
from taketurns.settings import Settings
from taketurns.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

PLENTY = parse_rate("1000000/1s:1000000")
SCARCE = parse_rate("1/1m")


def microseconds(call: Callable[[str], object], calls: int) -> tuple[float, float]:
    """Return the median and the 99th percentile of one call; each gets another text, for a lease."""
    taken = []
    for number in range(calls):
        started = time.perf_counter_ns()
        call(str(number))
        taken.append((time.perf_counter_ns() - started) / 1000)
    return statistics.median(taken), statistics.quantiles(taken, n=100)[98]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5000, help="calls of each kind (default: %(default)s)")
    calls: int = parser.parse_args().calls
    settings = Settings.load()
    prefix = f"benchmark-{uuid.uuid4().hex[:8]}"
    with Store(settings.redis.model_copy(update={"redis_prefix": prefix})) as store:
        limiter = Limiter(store, settings.limiter)

        def admit(tenant: str, limits: Limits) -> Callable[[str], object]:
            return lambda lease: limiter.admit(tenant, "task", limits, lease=lease)

        def admit_and_release(lease: str) -> None:
            limiter.admit("all", "task", Limits(PLENTY, PLENTY, 100), lease=lease)
            limiter.release("all", lease)

        kinds: dict[str, Callable[[str], object]] = {
            "no limits": admit("none", Limits()),
            "ping (one call to Redis, for comparison)": lambda _: store.ping(),
            "tenant rate, admitted": admit("rate", Limits(PLENTY)),
            "tenant rate, refused": admit("scarce", Limits(SCARCE)),
            "both rates, admitted": admit("rates", Limits(PLENTY, PLENTY)),
            "both rates and concurrency, with the release": admit_and_release,
            "claim, refused": lambda _: limiter.claim("scarce", "task", Limits(SCARCE), owner="w", ttl=1),
            "status of two rates": lambda _: limiter.status("rates", PLENTY, {"task": PLENTY}),
        }
        print(f"{'µs a call':<46}{'median':>8}{'p99':>8}")
        for kind, call in kinds.items():
            median, p99 = microseconds(call, calls)
            print(f"{kind:<46}{median:>8.1f}{p99:>8.1f}")


if __name__ == "__main__":
    main()
