"""The conditions of a run: what is the same for all systems, and the machine and versions that they ran on."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from redis import Redis

from benchmarks.bench import WORKERS
from benchmarks.fleet import CONCURRENCY, POOL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.lab import Broker
    from benchmarks.profile import Profile

_PACKAGES = ("celery", "kombu", "amqp", "celery-ranch", "redis", "taketurns")


def describe(profile: Profile, brokers: Sequence[Broker]) -> dict[str, str]:
    """Return the conditions, each by its name."""
    return {
        "profile": profile.name,
        "workers": f"{WORKERS} of {CONCURRENCY} slots, {POOL} pool, no mingle (limits: 4 of {CONCURRENCY})",
        "acknowledgements": "late, rejected when the worker is lost, prefetch multiplier 1",
        "serialiser": "json",
        "result backend": "none (task_ignore_result)",
        "publisher": "one process on the same machine; backlogs are published before the workers start, and single "
        "tasks confirmed one by one",
        "celery-ranch": "Redis as its broker and store, lru_delay as its publisher",
        "taketurns": "settings as shipped: limits, tenant settings and activity are looked up as in production",
        "CPUs": f"{os.cpu_count()} ({_processor()}), shared by broker, workers and publisher",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "brokers": ", ".join(f"RabbitMQ {broker.version}" for broker in brokers),
        "Redis": _redis(brokers[0].redis_url),
        "Python": f"{platform.python_implementation()} {platform.python_version()}, {sys.platform}",
        "packages": ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _redis(url: str) -> str:
    with Redis.from_url(url) as redis:
        return str(redis.info("server")["redis_version"])
