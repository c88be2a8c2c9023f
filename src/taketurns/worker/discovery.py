"""Discovery: which tenant queues exist, and the tenants' settings, looked up beside the worker's loop.

RabbitMQ is the truth about which queues exist, so a worker that missed every broadcast still serves them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from celery.utils.log import get_logger

from taketurns.errors import ManagementUnavailable, RegistryUnavailable
from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.extension import TakeTurns
    from taketurns.registry import TenantSettings

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """The tenant queues to be served, with their backlogs; None is unknown."""

    backlogs: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is known of the tenants at one version of the registry."""

    version: int
    settings: Mapping[str, TenantSettings]


class Discovery:
    """Looks up queues and settings; every call blocks.

    Args:
        turns: the installed extension.
        name: this worker's node name.
    """

    def __init__(self, turns: TakeTurns, name: str) -> None:
        self._turns = turns
        self._name = name
        self._version: int | None = None

    def queues(self) -> Found:
        """List the tenant queues that are not being drained.

        While the management API is away it is the tenants with recent activity, whose backlog is unknown.

        Raises:
            ManagementUnavailable: neither the management API nor Redis answers.
        """
        try:
            backlogs: dict[str, int | None] = {
                name: queue.ready for name, queue in self._turns.management.tenant_queues().items()
            }
        except ManagementUnavailable as error:
            try:
                backlogs = {queue_name(tenant): None for tenant in self._turns.registry.activity()}
            except RegistryUnavailable:
                raise error from None
            logger.warning("tenant queues are taken from Redis, since %s", error)
        try:
            for tenant in self._turns.registry.draining():
                backlogs.pop(queue_name(tenant), None)
        except RegistryUnavailable:
            pass  # the reaper does nothing without Redis, so nothing is being drained
        return Found(backlogs)

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

    def sign_of_life(self) -> None:
        """Tell the others that this worker serves tenants.

        Raises:
            RegistryUnavailable: Redis does not answer.
        """
        self._turns.registry.worker_alive(self._name, 3 * self._turns.settings.worker.heartbeat_interval)

    def farewell(self) -> None:
        """Tell the others that this worker no longer serves tenants.

        Raises:
            RegistryUnavailable: Redis does not answer; the others will notice by the missing signs of life.
        """
        self._turns.registry.worker_gone(self._name)
