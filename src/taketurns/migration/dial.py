"""The canary as it is now: what an operator has set for all processes at once, or else the settings."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from taketurns.errors import InvalidInput, RegistryUnavailable
from taketurns.migration.canary import Canary, read_tenants

if TYPE_CHECKING:
    from collections.abc import Collection

    from taketurns.settings import CanarySettings
    from taketurns.store import Store

logger = logging.getLogger(__name__)

KNOWN_WITHIN: Final = 1.0
"""Seconds after which every process that reaches Redis knows of a change."""


class CanaryDial:
    """Tells who is in the canary, and changes it for every process of an installation. Thread-safe.

    What is set here is in Redis and comes before the settings; each process reads it again at most once a second,
    when it submits. While Redis is away what was last read goes on holding, and a process that has read nothing yet
    goes by its settings; so does everybody after a FLUSHALL.

    Args:
        store: Redis.
        settings: what holds while nothing is set.

    Attributes:
        configured: the canary of the settings.
    """

    def __init__(self, store: Store, settings: CanarySettings) -> None:
        self._store = store
        self._key = store.key("{.all}", "canary")
        self.configured = Canary(
            settings.percent, read_tenants(settings.tenants or ""), read_tenants(settings.excluded or "")
        )
        self._set: Canary | None = None
        self._next_look = 0.0

    def has(self, tenant: str) -> bool:
        """Tell whether the tenant's tasks go to its own queue, as far as is known; see [current][]."""
        return self.current().has(tenant)

    def current(self) -> Canary:
        """Return the canary, at most a second old."""
        now = time.monotonic()
        if now >= self._next_look:
            try:
                self._set = self.read()
            except RegistryUnavailable:
                logger.debug("Redis is away; the canary is as it was last read")
            self._next_look = (
                now + KNOWN_WITHIN
            )  # only now: another thread must not go by what is not read yet
        return self.configured if self._set is None else self._set

    def read(self) -> Canary | None:
        """Return what is set for all processes; None: nothing is, so each one goes by its settings.

        Raises:
            RegistryUnavailable: Redis is away.
        """
        stored = self._store.call(lambda redis: redis.get(self._key))
        return None if stored is None else Canary.from_json(stored)

    def set(
        self,
        *,
        percent: float | None = None,
        tenants: Collection[str] | None = None,
        excluded: Collection[str] | None = None,
    ) -> Canary:
        """Set for all processes who is in, and return it; what is None here stays as it is.

        Publishers, the API and workers go by it within a second. Tasks that wait stay where they are; who has come
        out has them moved by a rollback, and who has got in by an adoption of the old queue.

        Args:
            percent: 0 to 100; which tenants that is, their ids decide.
            tenants: all that are in, whatever the percentage; an empty one for none.
            excluded: all that are out, whatever else is set; an empty one for none.

        Raises:
            InvalidInput: ``percent`` is no number from 0 to 100.
            InvalidTenant: a tenant id does not have the accepted form.
            RegistryUnavailable: Redis is away; nothing was changed, or all of it.
        """
        for name, value in (("tenants", tenants), ("excluded", excluded)):
            if isinstance(value, str):
                raise InvalidInput(value, "a list or set of tenants", field=name)
        changed = (self.read() or self.configured).changed(
            percent=percent, tenants=tenants, excluded=excluded
        )
        self._store.call(lambda redis: redis.set(self._key, changed.to_json()))
        self._next_look = 0.0
        return changed

    def unset(self) -> Canary:
        """Let every process go by its own settings again, and return what these are in this one.

        Raises:
            RegistryUnavailable: Redis is away.
        """
        self._store.call(lambda redis: redis.delete(self._key))
        self._next_look = 0.0
        return self.configured
