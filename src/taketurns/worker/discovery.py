"""Discovery: which tenant queues exist, and the tenants' settings, looked up beside the worker's loop.

RabbitMQ is the truth about which queues exist, so a worker that missed every broadcast still serves them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from celery.utils.log import get_logger

from taketurns.errors import ManagementUnavailable, RegistryUnavailable
from taketurns.registry.listing import SharedListing
from taketurns.tenants import queue_name
from taketurns.worker.ownership import owners_of_each, ranks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taketurns.extension import TakeTurns
    from taketurns.registry import TenantSettings
    from taketurns.registry.usage import Report, Totals

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """The tenant queues that there are.

    Attributes:
        backlogs: their backlogs; None is unknown.
        ranks: those on which this worker keeps a consumer, each with its rank among those that do.
        workers: the live workers by whose names that was decided.
    """

    backlogs: Mapping[str, int | None]
    ranks: Mapping[str, int]
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is known of the tenants at one version of the registry."""

    version: int
    settings: Mapping[str, TenantSettings]


class Discovery:
    """Looks up queues, settings and what other workers tell; every call blocks.

    Args:
        turns: the installed extension.
        name: this worker's node name.
    """

    def __init__(self, turns: TakeTurns, name: str) -> None:
        self._turns = turns
        self._name = name
        self._version: int | None = None
        self._shared = SharedListing(turns.store, turns.registry, name)
        self._many = False
        self._gone = False
        self._workers: Sequence[str] = (name,)

    def queues(self) -> Found:
        """List the tenant queues that are not being drained.

        While the management API is away it is the tenants with recent activity, whose backlog is unknown. With more
        queues than a worker keeps consumers on, the listing may be half a ``reconcile_interval`` old.

        Raises:
            ManagementUnavailable: neither the management API nor Redis answers.
        """
        backlogs = dict(self._listing())
        try:
            for tenant in self._turns.registry.draining():
                backlogs.pop(queue_name(tenant), None)
            self._workers = sorted({*self._turns.registry.workers(), self._name})
        except RegistryUnavailable:
            pass  # the reaper does nothing without Redis, so nothing is being drained
        most = self._turns.settings.worker.max_consumers
        self._many = len(backlogs) > most
        owners = owners_of_each(len(backlogs), len(self._workers), most)
        return Found(backlogs, ranks(backlogs, self._name, self._workers, owners), tuple(self._workers))

    def rules(self, *, always: bool = False) -> Rules | None:
        """Return the tenants' settings if they changed since the last call, or ``always``.

        Raises:
            RegistryUnavailable: Redis does not answer; what was known before still holds.
        """
        version = self._turns.registry.version()
        if version == self._version and not always:
            return None
        rules = Rules(version, self._turns.registry.all())
        self._version = version
        return rules

    def exchange(self, report: Report) -> tuple[Totals, Sequence[str]]:
        """Tell the other workers what tenants had here; return what they had everywhere, and who lives.

        Raises:
            RegistryUnavailable: Redis does not answer.
        """
        return self._turns.registry.usage.exchange(report), sorted(
            {*self._turns.registry.workers(), self._name}
        )

    def begin(self) -> None:
        """Serve, at the start or after a lost connection: signs of life are given from now on."""
        self._gone = False

    def sign_of_life(self) -> None:
        """Tell the others that this worker serves tenants, unless it has said farewell.

        Raises:
            RegistryUnavailable: Redis does not answer.
        """
        if self._gone:  # one that was under way would have it named as lost
            return
        self._turns.registry.worker_alive(self._name, 3 * self._turns.settings.worker.heartbeat_interval)

    def farewell(self) -> None:
        """Tell the others that this worker no longer serves tenants.

        Raises:
            RegistryUnavailable: Redis does not answer; the others will notice by the missing signs of life.
        """
        self._gone = True
        self._turns.registry.worker_gone(self._name)

    def _listing(self) -> Mapping[str, int | None]:
        try:
            if self._many:
                interval = self._turns.settings.worker.reconcile_interval
                return self._shared.get(self._ask, max_age=interval / 2)
        except RegistryUnavailable:
            pass
        try:
            return self._ask()
        except ManagementUnavailable as error:
            try:
                backlogs = {queue_name(tenant): None for tenant in self._turns.registry.activity()}
            except RegistryUnavailable:
                raise error from None
            logger.warning("tenant queues are taken from Redis, since %s", error)
            return backlogs

    def _ask(self) -> Mapping[str, int | None]:
        return {name: queue.ready for name, queue in self._turns.management.tenant_queues().items()}
