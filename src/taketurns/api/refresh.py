"""Telling the workers that a tenant's settings have changed."""

import logging

from amqp.exceptions import AMQPError

from taketurns.errors import RegistryUnavailable
from taketurns.extension import TakeTurns

logger = logging.getLogger(__name__)


def refresh_workers(turns: TakeTurns) -> None:
    """Have the live workers read the tenants' settings again now.

    A hint that may get lost: they look for changes by themselves too, at each sign of life.
    """
    try:
        if not (workers := turns.registry.workers()):
            return  # to Celery, no destination means everybody
        with turns.publisher.producer() as producer:
            mailbox = turns.app.control.mailbox(producer.connection)
            mailbox.producer_pool = None  # so that it publishes through this connection, which has a deadline
            mailbox.cast(workers, "taketurns_refresh")
    except (AMQPError, OSError, RegistryUnavailable) as error:
        logger.warning("the workers were not told of changed settings and will see them later: %s", error)
