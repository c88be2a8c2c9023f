"""The bars of the main job, side by side with plain Celery in one run: ``python tests/benchmarks/bars.py``.

1. With 200 backlogged tenants and two workers, the unacknowledged messages stay within running + hand, at 0.8 or
   more of the throughput of plain Celery's one queue.
2. With 100 throttled and backlogged tenants, no slot waits for a token and no worker's loop blocks for 50 ms.

Needs the servers that TAKETURNS_AMQP_URL, TAKETURNS_MANAGEMENT_URL and TAKETURNS_REDIS_URL name, or starts private
ones. Exits 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import struct
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import urlsplit

import requests

sys.path.insert(0, os.fspath(Path(__file__).parents[1]))

from support.workers import environment, worker
from taketurns.services import PrivateNodes
from taketurns.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKERS, CONCURRENCY = 2, 2


class Lab:
    """One vhost, one key prefix, the app in this process, and the stamps of its tasks."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        from support import bench_app  # reads the environment, so not at import

        self.settings = settings
        self.directory = directory
        self.tasks = bench_app
        self.quantum = settings.worker.max_credit

    def stamps(self, name: str) -> list[float]:
        """Return the sorted times at which the tasks of that name ran."""
        times: list[float] = []
        for path in self.directory.glob(f"{name}.*"):
            data = path.read_bytes()
            times.extend(struct.unpack(f"{len(data) // 8}d", data[: len(data) // 8 * 8]))
        return sorted(times)

    def status(self, names: list[str]) -> list[dict[str, Any]]:
        """Ask each worker what it holds."""
        replies = self.tasks.app.control.broadcast(
            "taketurns_status", reply=True, destination=names, timeout=2, limit=len(names)
        )
        return [answer for reply in replies or [] for answer in reply.values()]


@contextmanager
def lab(base: Settings) -> Iterator[Lab]:
    """Make a vhost and a key prefix of the benchmark's own, and remove the vhost afterwards."""
    vhost = f"bench-{uuid.uuid4().hex[:8]}"
    url = f"{base.broker.management_url}/api/vhosts/{vhost}"
    requests.put(url, timeout=30).raise_for_status()
    own = base.broker.model_copy(
        update={"amqp_url": f"amqp://{urlsplit(str(base.broker.amqp_url)).netloc}/{vhost}"}
    )
    settings = replace(base, broker=own, redis=base.redis.model_copy(update={"redis_prefix": vhost}))
    with tempfile.TemporaryDirectory() as directory:
        variables = environment(settings, BENCH_STAMPS=directory)
        with mock.patch.dict(os.environ, variables, clear=True):
            this = Lab(settings, Path(directory))
            try:
                yield this
            finally:
                this.tasks.turns.publisher.close()
                requests.delete(url, timeout=30)


@contextmanager
def workers(this: Lab, tag: str) -> Iterator[list[str]]:
    """Start the two workers, and return their names."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                worker(
                    this.settings,
                    this.directory,
                    *("-P", "prefork", "-c", str(CONCURRENCY), "-l", "WARNING"),
                    name=f"{tag}{number}",
                    app="support.bench_app",
                    BENCH_STAMPS=os.fspath(this.directory),
                )
            ).name
            for number in range(WORKERS)
        ]


def rate(stamps: list[float]) -> float:
    """Return runs per second between the first fifth and the last tenth."""
    part = stamps[len(stamps) // 5 : len(stamps) * 9 // 10]
    return len(part) / (part[-1] - part[0])


def drain(this: Lab, name: str, count: int, look: Callable[[], None] = lambda: None) -> None:
    """Wait until so many stamps are there, calling ``look`` every 100 ms."""
    deadline = time.monotonic() + 120
    while len(this.stamps(name)) < count:
        if time.monotonic() > deadline:
            sys.exit(f"{name}: {len(this.stamps(name))} of {count} tasks ran in 120 s")
        look()
        time.sleep(0.1)


def throughput(this: Lab, tenants: int, tasks: int, rounds: int) -> bool:
    """Measure plain Celery and turns in alternation, and watch what is unacknowledged."""
    rates: dict[str, list[float]] = {"plain": [], "turns": []}
    bound = WORKERS * (CONCURRENCY + CONCURRENCY + this.quantum)
    broker_saw: list[int] = []
    workers_saw: list[int] = []

    def measure(kind: str, round_: int) -> None:
        name = f"{kind}{round_}"
        for number in range(tasks):
            if kind == "plain":
                this.tasks.plain.delay(name)
            else:
                this.tasks.turn.apply_async((name,), tenant=f"t{number % tenants}")
        with workers(this, name) as names:

            def look() -> None:  # in the rounds of plain Celery as well: looking costs both the same
                stamps = this.stamps(name)
                listing = this.tasks.turns.management.tenant_queues().values()
                status = this.status(names)
                if kind == "turns" and stamps and time.time() - stamps[0] > 2 and len(stamps) < tasks * 0.9:
                    broker_saw.append(sum(queue.unacknowledged or 0 for queue in listing))
                    workers_saw.extend(each["running"] + each["hand"] for each in status)

            drain(this, name, tasks, look)
        rates[kind].append(rate(this.stamps(name)))

    for round_ in range(rounds):
        for kind in rates:
            measure(kind, round_)
        print(
            f"round {round_}: plain {rates['plain'][-1]:.0f}/s, turns {rates['turns'][-1]:.0f}/s", flush=True
        )
    ratio = statistics.median(rates["turns"]) / statistics.median(rates["plain"])
    own_bound = bound // WORKERS
    print(
        f"{tenants} tenants, {tasks} tasks, {WORKERS} workers of {CONCURRENCY}: "
        f"{ratio:.2f} of plain Celery's throughput (bar 0.80)\n"
        f"unacknowledged: at most {max(broker_saw, default=0)} by the broker (bound {bound}, "
        f"{len(broker_saw)} samples), at most {max(workers_saw, default=0)} a worker by its own count "
        f"(bound {own_bound}, {len(workers_saw)} samples)"
    )
    return (
        ratio >= 0.8
        and bool(broker_saw)
        and max(broker_saw) <= bound
        and max(workers_saw, default=0) <= own_bound
    )


def throttling(this: Lab, tenants: int, seconds: float) -> bool:
    """Keep tenants throttled and backlogged, and see what a free one gets and how late the loops are."""
    for number in range(tenants):
        for _ in range(int(seconds) + 10):
            this.tasks.throttled.apply_async(("throttled",), tenant=f"slow{number}")
    with workers(this, "throttle") as names:
        drain(this, "throttled", tenants)
        this.status(names)  # forgets the lag of the start
        began = time.time()
        free = int(seconds * 100)
        for _ in range(free):
            this.tasks.turn.apply_async(("free", 0.01), tenant="free")
        lags, hands = [], []

        def look() -> None:
            for each in this.status(names):
                lags.append(each["loop_lag"])
                hands.append(each["hand"])

        drain(this, "free", free, look)
        took = time.time() - began
        limited = sum(began <= stamp <= began + took for stamp in this.stamps("throttled"))
    slots = WORKERS * CONCURRENCY
    used = free * 0.01 / slots / took
    print(
        f"{tenants} throttled tenants beside one free one: the free one's {free} tasks of 10 ms took {took:.1f} s "
        f"on {slots} slots ({used:.0%} of them), while {limited} throttled tasks started "
        f"({tenants * took:.0f} allowed); the loops were late by {max(lags) * 1000:.0f} ms at most (bar 50 ms), "
        f"{len(lags)} samples"
    )
    return max(lags) < 0.05 and limited <= tenants * (took + 1)


def main() -> None:
    """Run both, on the given servers or private ones."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["throughput", "throttling"])
    options = parser.parse_args()
    base = Settings.load()
    with ExitStack() as stack:
        if base.broker.amqp_url is None:
            nodes = stack.enter_context(
                PrivateNodes(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            )
            base = replace(
                base,
                broker=base.broker.model_copy(
                    update={"amqp_url": nodes.amqp_url, "management_url": nodes.management_url}
                ),
                redis=base.redis.model_copy(update={"redis_url": nodes.redis_url}),
            )
        this = stack.enter_context(lab(base))
        good = True
        if options.only != "throttling":
            good &= throughput(this, options.tenants, options.tasks, options.rounds)
        if options.only != "throughput":
            good &= throttling(this, 100, 10)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
