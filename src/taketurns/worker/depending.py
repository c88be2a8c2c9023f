"""Which tenants use dependencies, as far as this worker knows, and what it does for them besides."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from taketurns.dependencies.awaited import DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from taketurns.dependencies.dependencies import Dependencies
    from taketurns.records.lifecycle import Stored

INTERVAL: Final = 1.0
"""Seconds until a worker that was not told of such a tenant knows of it."""


class Depending:
    """The tenants whose tasks' ends are written down before they are acknowledged, and let others go.

    ``look`` blocks, all else is quick; ``ended`` is called by the journal, from its thread.

    Args:
        dependencies: what all processes know.
        worker: this worker's name.
        later: runs a call that takes its time, in a thread of its own.
    """

    def __init__(
        self, dependencies: Dependencies, worker: str, later: Callable[[Callable[[], object]], None]
    ) -> None:
        self._dependencies = dependencies
        self._worker = worker
        self._later = later
        self._until: dict[str, float] = {}

    def __contains__(self, tenant: object) -> bool:
        return tenant in self._until

    def look(self) -> list[str]:
        """Return the tenants that use dependencies.

        Raises:
            RegistryUnavailable: Redis is away.
        """
        return self._dependencies.awaited.tenants()

    def add(self, tenants: Collection[str]) -> None:
        """Take note of tenants, for a day, even if Redis loses them meanwhile."""
        now = monotonic()
        for tenant in set(tenants) - self._until.keys():
            self.learn(tenant)
        self._until = {tenant: until for tenant, until in self._until.items() if until > now}
        self._until |= dict.fromkeys(tenants, now + DAY)

    def learn(self, tenant: str) -> None:
        """Take note of a tenant, and let those know who wait for it."""
        self._until = {**self._until, tenant: monotonic() + DAY}
        self._later(lambda: self._dependencies.awaited.know(self._worker, tenant))

    def ended(self, ends: Mapping[str, Mapping[str, Stored]]) -> None:
        """Let go of those that wait for tasks which have ended."""
        known = self._until
        if mine := {tenant: states for tenant, states in ends.items() if tenant in known}:
            self._later(lambda: self._dependencies.ended(mine))
