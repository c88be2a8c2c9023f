"""How many tasks of a tenant may wait: the cap, and its check before a submission."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from taketurns.errors import BacklogFull, RegistryUnavailable
from taketurns.limits.rate import RateLimit, parse_rate

if TYPE_CHECKING:
    from taketurns.publisher import Publisher
    from taketurns.registry import Registry, TenantSettings
    from taketurns.settings import LimiterSettings

_INTERVAL: Final = 1.0
_REMEMBERED: Final = 100_000  # tenants that a process remembers before it starts afresh

_RETRY_AFTER: Final = 5.0
"""Seconds after which to try again if it isn't known how fast a queue empties."""

_LATEST: Final = 60.0
"""Seconds after which to try again at the latest: tasks may be removed, and the cap raised."""


@dataclass(frozen=True, slots=True)
class BacklogCap:
    """A tenant's cap.

    Attributes:
        max_backlog: how many of its tasks may wait.
        rate: the rate of all its tasks together, if it has one.
    """

    max_backlog: int
    rate: RateLimit | None = None

    @classmethod
    def of(cls, settings: TenantSettings, defaults: LimiterSettings) -> BacklogCap | None:
        """Return the cap of a tenant with these settings, or None if any number may wait."""
        most = settings.max_backlog or defaults.default_max_backlog
        if most is None:
            return None
        rate = settings.rate_limit or defaults.default_rate_limit
        return cls(most, parse_rate(rate) if rate else None)

    def retry_after(self, backlog: int, more: int = 1) -> float:
        """Return the seconds after which to try again: until the rate has let start what is too much."""
        if self.rate is None:
            return _RETRY_AFTER
        return min((backlog - self.max_backlog + more) * self.rate.interval, _LATEST)


class BacklogCaps:
    """Checks submissions by the tenants' caps. Thread-safe.

    There is no counter that could go wrong: what counts is what RabbitMQ says, just before the submission, waits in
    the tenant's queue. What a worker holds or runs doesn't count, nor does what is delayed, until it is due. Of
    several publishers that ask at the same moment each may exceed the cap, by what it submits.

    A tenant's settings are at most a second old. Only its own are read, within 0.1 ms: those of 10,000 tenants take
    more than 100 ms, for which a caller would wait after each change of anybody's. While Redis is away those last
    read go on applying, and a tenant whose settings were never read has no cap.
    """

    def __init__(self, registry: Registry, publisher: Publisher, settings: LimiterSettings) -> None:
        self._registry = registry
        self._publisher = publisher
        self._settings = settings
        self._known: dict[str, tuple[float, BacklogCap | None]] = {}

    def check(self, tenant: str, queue: str, more: int = 1) -> None:
        """Return if so many more tasks may wait in the tenant's queue.

        Raises:
            BacklogFull: as many wait as may.
            BrokerUnavailable: it was not told in time how many do.
        """
        cap = self._cap(tenant)
        if cap is None:
            return
        backlog = self._publisher.waiting(queue)
        if backlog + more > cap.max_backlog:
            retry_after = cap.retry_after(backlog, more)
            raise BacklogFull(tenant, backlog, cap.max_backlog, retry_after, more)

    def _cap(self, tenant: str) -> BacklogCap | None:
        now = time.monotonic()
        next_look, cap = self._known.get(tenant, (now, None))
        if now < next_look:
            return cap
        with suppress(RegistryUnavailable):
            cap = BacklogCap.of(self._registry.get(tenant), self._settings)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[tenant] = now + _INTERVAL, cap
        return cap
