"""Settings that lead to nodes of a scenario's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from taketurns.settings import Settings

if TYPE_CHECKING:
    from support.nodes import FreshNodes


def settings_for(nodes: FreshNodes) -> Settings:
    """Return the settings for some nodes; the rest is as the environment says."""
    base, where = Settings.load(), nodes.identity
    broker = {"amqp_url": where.amqp_url, "management_url": where.management_url}
    redis = {"redis_url": where.redis_url, "redis_prefix": "chaos"}
    return replace(
        base,
        broker=base.broker.model_copy(update=broker),
        redis=base.redis.model_copy(update=redis),
    )
