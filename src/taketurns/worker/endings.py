"""How tenants' tasks have ended here, counted until it is told. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taketurns.registry.history import Ended

if TYPE_CHECKING:
    from collections.abc import Mapping


class Endings:
    """Counts in memory, so that no task costs a call to Redis."""

    def __init__(self) -> None:
        self._ended: dict[str, Ended] = {}

    def completed(self, tenant: str) -> None:
        """Count a task that has ended well."""
        self._add(tenant, Ended(completed=1))

    def failed(self, tenant: str) -> None:
        """Count a task that has become a dead letter."""
        self._add(tenant, Ended(failed=1))

    def take(self) -> dict[str, Ended]:
        """Return what was counted since the last call, by tenant."""
        ended, self._ended = self._ended, {}
        return ended

    def put_back(self, ended: Mapping[str, Ended]) -> None:
        """Count again what could not be told."""
        for tenant, more in ended.items():
            self._add(tenant, more)

    def _add(self, tenant: str, more: Ended) -> None:
        before = self._ended.get(tenant, Ended())
        self._ended[tenant] = Ended(before.completed + more.completed, before.failed + more.failed)
