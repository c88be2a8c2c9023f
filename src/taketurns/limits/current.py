"""The limits as they are now, for processes without a gate: read again at most once a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from taketurns.errors import RegistryUnavailable
from taketurns.limits.book import LimitBook

if TYPE_CHECKING:
    from taketurns.limits.limiter import Limits
    from taketurns.limits.rate import RateLimit
    from taketurns.registry import Registry

_INTERVAL = 1.0


class CurrentLimits:
    """Looks limits up in the registry. While Redis is away those last read go on applying."""

    def __init__(self, registry: Registry, default_rate: RateLimit | None) -> None:
        self._registry = registry
        self._default_rate = default_rate
        self._book = LimitBook({}, default_rate)
        self._version: int | None = None
        self._next_look = 0.0

    def of(self, tenant: str, task: str, task_rate: RateLimit | None, priority: int | None) -> Limits:
        """Return the limits of one kind of task of one tenant, at most a second old."""
        now = time.monotonic()
        if now >= self._next_look:
            try:
                version = self._registry.version()
                if version != self._version:
                    self._book = LimitBook(self._registry.all(), self._default_rate)
                    self._version = version
            except RegistryUnavailable:
                pass
            # Only now: another thread that comes during the first look must not take it that there are no limits.
            self._next_look = now + _INTERVAL
        return self._book.limits(tenant, task, task_rate, priority)
