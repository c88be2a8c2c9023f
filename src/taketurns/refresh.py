"""Telling the workers that a tenant's settings have changed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from taketurns.errors import BrokerUnavailable, RegistryUnavailable

if TYPE_CHECKING:
    from taketurns.publisher import Publisher
    from taketurns.registry import Registry

logger = logging.getLogger(__name__)


def refresh_workers(registry: Registry, publisher: Publisher) -> None:
    """Have the live workers read the tenants' settings again now.

    A hint that may get lost: they look for changes by themselves too, every second.
    """
    try:
        if not (workers := registry.workers()):
            return  # to Celery, no destination means everybody
        publisher.tell(workers, "taketurns_refresh")
    except (BrokerUnavailable, RegistryUnavailable) as error:
        logger.warning("the workers were not told of changed settings and will see them later: %s", error)
