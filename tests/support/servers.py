"""Where the servers of the tests are."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Servers:
    """Where the servers are; all URLs carry their credentials."""

    amqp_url: str
    management_url: str
    redis_url: str


@dataclass(frozen=True)
class Broker:
    """A vhost of one test's own."""

    amqp_url: str
    management_url: str
    vhost: str

    def api(self, path: str) -> str:
        """Return a management URL; ``{vhost}`` in the path becomes the quoted vhost."""
        return f"{self.management_url}/api/{path.format(vhost=quote(self.vhost, safe=''))}"
