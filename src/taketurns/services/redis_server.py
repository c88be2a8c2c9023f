"""A private Redis that keeps what was written, as the one in production should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from taketurns.services.identity import write_private
from taketurns.services.ports import LOOPBACK
from taketurns.services.programs import find_program
from taketurns.services.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from taketurns.services.identity import Identity

_CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
dir "{home}"
appendonly yes
save ""
"""


class RedisServer(Server):
    """A Redis with a password, its data in the directory."""

    name = "redis"
    ports = ("redis",)
    start_within = 20.0

    def __init__(self, directory: Path, identity: Identity) -> None:
        super().__init__(directory)
        self._identity = identity
        self._home = directory / "redis"

    def prepare(self) -> list[str]:
        """Write the configuration; return the command."""
        self._home.mkdir(exist_ok=True)
        path = self._home / "redis.conf"
        who = self._identity
        write_private(
            path,
            _CONFIGURATION.format(
                host=LOOPBACK, port=who.ports.redis, password=who.redis_password, home=self._home
            ),
        )
        return [find_program("redis-server") or "redis-server", str(path)]

    def answers(self) -> bool:
        """Return whether it answers a PING with this password, so after its data is loaded."""
        with Redis.from_url(
            self._identity.redis_url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0)
        ) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False
