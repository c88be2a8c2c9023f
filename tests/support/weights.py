"""The weight function of ``support.shop`` where ``SHOP_WEIGHS`` is set; a tenant's metadata direct it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from redis import Redis

if TYPE_CHECKING:
    from taketurns import TenantShare

TOLD = "{}-told-shares"
"""The key under which it writes down the shares that it is told; with the test's prefix."""


def by_metadata(tenant: TenantShare) -> float:
    """Multiply the set weight by ``factor``, or fail, or hang."""
    with Redis.from_url(os.environ["TAKETURNS_REDIS_URL"]) as redis:
        redis.hset(TOLD.format(os.environ["TAKETURNS_REDIS_PREFIX"]), tenant.tenant, tenant.share)
    if "fails" in tenant.metadata:
        raise ValueError(tenant.metadata["fails"])
    time.sleep(tenant.metadata.get("sleeps", 0))
    return tenant.weight * float(tenant.metadata.get("factor", 1))
