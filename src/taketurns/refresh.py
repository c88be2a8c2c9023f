"""Telling the workers that a tenant's settings have changed."""

import logging

from taketurns.errors import BrokerUnavailable, RegistryUnavailable
from taketurns.extension import TakeTurns

logger = logging.getLogger(__name__)


def refresh_workers(turns: TakeTurns) -> None:
    """Have the live workers read the tenants' settings again now.

    A hint that may get lost: they look for changes by themselves too, every second.
    """
    try:
        if not (workers := turns.registry.workers()):
            return  # to Celery, no destination means everybody
        turns.publisher.tell(workers, "taketurns_refresh")
    except (BrokerUnavailable, RegistryUnavailable) as error:
        logger.warning("the workers were not told of changed settings and will see them later: %s", error)
