"""What tests keep in Redis, and how it is lost."""

from __future__ import annotations

from redis import Redis


def lose_keys(url: str, prefix: str) -> None:
    """Have Redis lose all keys of a test or an installation, by what they begin with."""
    with Redis.from_url(url) as redis:
        for key in redis.scan_iter(match=f"{prefix}*", count=1000):
            redis.delete(key)
