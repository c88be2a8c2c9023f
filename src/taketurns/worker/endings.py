"""How tenants' tasks have ended here, counted until it is told. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from taketurns.registry.history import Ended
from taketurns.tenants import tenant_by

if TYPE_CHECKING:
    from collections.abc import Mapping


class Endings:
    """Counts in memory, by queue, so that no task costs a call to Redis, and hardly anything else."""

    def __init__(self) -> None:
        self._completed: defaultdict[str, int] = defaultdict(int)
        self._failed: defaultdict[str, int] = defaultdict(int)
        self._untold: Mapping[str, Ended] = {}

    def completed(self, queue: str) -> None:
        """Count a task of a tenant's queue that has ended well."""
        self._completed[queue] += 1

    def failed(self, queue: str) -> None:
        """Count a task of a tenant's queue that has become a dead letter."""
        self._failed[queue] += 1

    def take(self) -> dict[str, Ended]:
        """Return what was counted since the last call, by tenant."""
        ended = dict(self._untold)
        for queue in {*self._completed, *self._failed}:
            tenant = tenant_by(queue)
            before = ended.get(tenant, Ended())
            ended[tenant] = Ended(
                before.completed + self._completed.get(queue, 0), before.failed + self._failed.get(queue, 0)
            )
        self._completed.clear()
        self._failed.clear()
        self._untold = {}
        return ended

    def put_back(self, ended: Mapping[str, Ended]) -> None:
        """Count again what could not be told."""
        put_back = {**self._untold}
        for tenant, more in ended.items():
            before = put_back.get(tenant, Ended())
            put_back[tenant] = Ended(before.completed + more.completed, before.failed + more.failed)
        self._untold = put_back
