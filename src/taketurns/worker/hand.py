"""The messages that a worker has not settled: those in its hand, and those that run. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from taketurns.worker.commands import M
from taketurns.worker.tenant import Taken, Tenant

if TYPE_CHECKING:
    from collections.abc import Iterable


class Hand(Generic[M]):
    """Keeps account of every message that was taken, until it is settled or given back."""

    def __init__(self) -> None:
        self._taken: dict[M, Taken[M]] = {}
        self._holding: dict[str, Tenant[M]] = {}
        self.held = 0
        """Messages that are held and not started."""

    @property
    def running(self) -> int:
        """Messages that are started and not settled."""
        return len(self._taken) - self.held

    @property
    def holding(self) -> Iterable[Tenant[M]]:
        """The tenants of which something is held."""
        return self._holding.values()

    @property
    def taken(self) -> Iterable[Taken[M]]:
        """All messages that are not settled."""
        return self._taken.values()

    def get(self, message: M) -> Taken[M] | None:
        """Return what is known of a message, or None if it is settled."""
        return self._taken.get(message)

    def take(self, tenant: Tenant[M], message: M, kind: str) -> None:
        """Hold a message that has come."""
        self._taken[message] = Taken(tenant, kind)
        tenant.hand.append(message)
        tenant.latest = kind
        self._holding[tenant.queue] = tenant
        self.held += 1

    def start(self, tenant: Tenant[M], now: float) -> tuple[M, Taken[M]]:
        """Take the tenant's next message out of the hand and count it as running."""
        message = tenant.hand.popleft()
        self._shrink(tenant)
        taken = self._taken[message]
        taken.started_at = now
        tenant.running += 1
        return message, taken

    def take_back(self, message: M) -> Taken[M]:
        """Hold a message again, as the tenant's next, that was started a moment ago and did not run."""
        taken = self._taken[message]
        taken.started_at = None
        taken.tenant.running -= 1
        taken.tenant.hand.appendleft(message)
        self._holding[taken.tenant.queue] = taken.tenant
        self.held += 1
        return taken

    def settle(self, message: M) -> Taken[M] | None:
        """Forget a message, held or running; None if it is not known (any more)."""
        taken = self._taken.pop(message, None)
        if taken is None:
            return None
        if taken.started_at is None:
            taken.tenant.hand.remove(message)
            self._shrink(taken.tenant)
        else:
            taken.tenant.running -= 1
        return taken

    def drop_last(self, tenant: Tenant[M]) -> M:
        """Take the tenant's last message out of the hand, to be given back."""
        message = tenant.hand.pop()
        del self._taken[message]
        self._shrink(tenant)
        return message

    def _shrink(self, tenant: Tenant[M]) -> None:
        self.held -= 1
        if not tenant.hand:
            del self._holding[tenant.queue]
