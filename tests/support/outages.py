"""Settings in which one of the servers is somewhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taketurns.settings import Settings


def without_broker(settings: Settings, address: str) -> Settings:
    """Have RabbitMQ at this address, and less patience with it than by default: a busy machine takes its time too."""
    changes = {"amqp_url": f"amqp://guest:guest@{address}//", "publish_timeout": 2.0}
    return replace(settings, broker=settings.broker.model_copy(update=changes))


def without_redis(settings: Settings, address: str) -> Settings:
    """Have Redis at this address."""
    return replace(settings, redis=settings.redis.model_copy(update={"redis_url": f"redis://{address}/0"}))


def without_management(settings: Settings, address: str) -> Settings:
    """Have the management API at this address, and little patience with it."""
    changes = {"management_url": f"http://guest:guest@{address}", "management_timeout": 1.0}
    return replace(settings, broker=settings.broker.model_copy(update=changes))
