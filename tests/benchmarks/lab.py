"""One place for one cell: a vhost, a key prefix and a folder of stamps, all removed afterwards."""

from __future__ import annotations

import tempfile
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from redis import Redis

from benchmarks.stamps import Stamps
from support.progress import say
from support.uninterrupted import uninterrupted
from taketurns.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

_MANAGEMENT_TIMEOUT = 30.0
_DELETE_TIMEOUT = 300.0  # a vhost of 20,000 queues takes its time


@dataclass(frozen=True)
class Broker:
    """A RabbitMQ to measure on, and the Redis beside it; all URLs carry their credentials."""

    name: str
    version: str
    amqp_url: str
    management_url: str
    redis_url: str
    fresh: Callable[[], AbstractContextManager[Broker]] | None = None
    """Starts such a broker with nothing in it, until the block ends; None where the benchmark can't."""
    passing: bool = False
    """Whether it ends with its block: then nothing need be removed."""
    ctl: Callable[..., str] | None = None
    """Returns what ``rabbitmqctl`` prints for some arguments; None where the benchmark can't run it."""


class Lab:
    """Where the systems of one cell meet.

    Args:
        broker: the servers.
        vhost: the vhost of its own, which is its key prefix too.
        directory: the folder of the stamps and logs.
    """

    def __init__(self, broker: Broker, vhost: str, directory: Path) -> None:
        self.broker = broker
        self.name = vhost
        self.directory = directory
        self.amqp_url = f"amqp://{urlsplit(broker.amqp_url).netloc}/{vhost}"
        base = Settings.load()
        self.settings = replace(
            base,
            broker=base.broker.model_copy(
                update={
                    "amqp_url": self.amqp_url,
                    "management_url": broker.management_url,
                    "management_timeout": _MANAGEMENT_TIMEOUT,
                }
            ),
            redis=base.redis.model_copy(update={"redis_url": broker.redis_url, "redis_prefix": vhost}),
        )
        self._runs = 0

    def run(self, name: str) -> tuple[str, Stamps]:
        """Return an unused name for a run, and where its stamps come."""
        self._runs += 1
        run = f"{name}-{self._runs}"
        return run, Stamps(self.directory, run)

    def variables(self) -> dict[str, str]:
        """Return the settings that lead a process here."""
        return {
            "TAKETURNS_AMQP_URL": self.amqp_url,
            "TAKETURNS_MANAGEMENT_URL": self.broker.management_url,
            "TAKETURNS_REDIS_URL": self.broker.redis_url,
            "TAKETURNS_REDIS_PREFIX": self.name,
        }


@contextmanager
def lab(broker: Broker) -> Iterator[Lab]:
    """Make a vhost and a key prefix of the benchmark's own, and remove both afterwards."""
    vhost = f"bench-{uuid.uuid4().hex[:8]}"
    url = f"{broker.management_url}/api/vhosts/{vhost}"
    requests.put(url, timeout=_MANAGEMENT_TIMEOUT).raise_for_status()
    try:
        with tempfile.TemporaryDirectory(prefix="taketurns-bench-", ignore_cleanup_errors=True) as directory:
            yield Lab(broker, vhost, Path(directory))
    finally:
        with uninterrupted():
            if not broker.passing:
                _remove(broker, vhost, url)


def _remove(broker: Broker, vhost: str, url: str) -> None:
    with Redis.from_url(broker.redis_url) as redis:
        for key in redis.scan_iter(match=f"{vhost}*", count=1000):
            redis.unlink(key)
    try:
        requests.delete(url, timeout=_DELETE_TIMEOUT).raise_for_status()
    except requests.RequestException as error:
        say(f"the vhost {vhost} of {broker.name} was left behind: {error}")
