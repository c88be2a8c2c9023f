"""The listing of tenant queues, shared by workers: with many queues it costs the broker more than to serve them."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taketurns.registry.registry import Registry
    from taketurns.store import Store

_ROLE: Final = "listing"
_LISTS_FOR: Final = 10.0
"""Seconds after which somebody else lists, should the one who does have died."""
_LOOK_EVERY: Final = 0.1


class SharedListing:
    """One worker asks the broker, and the others read its answer in Redis. For one thread of each worker."""

    def __init__(self, store: Store, registry: Registry, owner: str) -> None:
        self._store = store
        self._registry = registry
        self._owner = owner
        self._key = store.key("{.all}", "listing")

    def get(self, ask: Callable[[], Mapping[str, int | None]], *, max_age: float) -> Mapping[str, int | None]:
        """Return the queues with their backlogs, at most so old.

        Args:
            ask: asks the broker.
            max_age: seconds.

        Raises:
            RegistryUnavailable: Redis is away.
            ManagementUnavailable: this one asked, and the broker does not answer.
        """
        deadline = time.monotonic() + _LISTS_FOR
        while True:
            if (stored := self._store.call(lambda redis: redis.get(self._key))) is not None:
                return dict(json.loads(stored))
            if self._registry.lead(_ROLE, self._owner, _LISTS_FOR) or time.monotonic() > deadline:
                return self._ask(ask, max_age)
            time.sleep(_LOOK_EVERY)

    def _ask(self, ask: Callable[[], Mapping[str, int | None]], max_age: float) -> Mapping[str, int | None]:
        try:
            listing = ask()
            text = json.dumps(dict(listing), separators=(",", ":"))
            lasts = max(1, math.ceil(max_age * 1000))
            self._store.call(lambda redis: redis.set(self._key, text, px=lasts))
        finally:
            self._registry.resign(_ROLE, self._owner)
        return listing
