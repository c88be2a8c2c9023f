"""How many connections a test's own processes have, as the servers themselves count them."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from redis import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Broker


class RedisUser:
    """A user of a Redis, by whom its connections are told from those of others.

    Attributes:
        url: the URL of this user.
    """

    def __init__(self, redis: Redis, url: str) -> None:
        self._redis = redis
        self._name = f"test-{uuid.uuid4().hex[:12]}"
        parts = urlsplit(url)
        self.url = f"redis://{self._name}:{self._name}@{parts.hostname}:{parts.port}{parts.path}"
        redis.acl_setuser(
            self._name,
            enabled=True,
            passwords=[f"+{self._name}"],
            commands=["+@all"],
            keys=["*"],
            channels=["*"],
        )

    def connections(self) -> int:
        """Return how many it has."""
        return sum(client["user"] == self._name for client in self._redis.client_list())

    def remove(self) -> None:
        """Remove the user; its connections end."""
        self._redis.acl_deluser(self._name)


@contextmanager
def redis_user(url: str) -> Iterator[RedisUser]:
    """Make a user that may do everything, until the block ends."""
    with Redis.from_url(url) as redis:
        user = RedisUser(redis, url)
        try:
            yield user
        finally:
            user.remove()


def rabbitmq_connections(broker: Broker) -> int:
    """Return how many connections the vhost has."""
    listing = requests.get(broker.api("vhosts/{vhost}/connections"), timeout=10)
    listing.raise_for_status()
    return len(listing.json())
