"""The demo's own place on RabbitMQ and Redis: a vhost and a key prefix that nobody else uses."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
from redis import Redis, RedisError
from requests.auth import HTTPBasicAuth

from taketurns.demo.errors import DemoFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIMEOUT = 30.0


@dataclass(frozen=True)
class Place:
    """Where the demo plays; all URLs carry their credentials.

    Attributes:
        amqp_url: RabbitMQ, the demo's own vhost included.
        management_url: its management API.
        redis_url: Redis.
        name: the name of the vhost and the prefix of the keys.
    """

    amqp_url: str
    management_url: str
    redis_url: str
    name: str

    def settings(self) -> dict[str, str]:
        """Return the environment variables that lead taketurns here."""
        return {
            "TAKETURNS_AMQP_URL": self.amqp_url,
            "TAKETURNS_MANAGEMENT_URL": self.management_url,
            "TAKETURNS_REDIS_URL": self.redis_url,
            "TAKETURNS_REDIS_PREFIX": self.name,
        }


@contextmanager
def own_place(amqp_url: str, management_url: str, redis_url: str, name: str) -> Iterator[Place]:
    """Make the vhost, empty of what an earlier demo may have left; remove vhost and keys at the end.

    Raises:
        DemoFailed: the management API or Redis refused, or did not answer.
    """
    place = Place(
        urlunsplit(urlsplit(amqp_url)._replace(path=f"/{name}")), management_url.rstrip("/"), redis_url, name
    )
    _clear(place)
    user = unquote(urlsplit(amqp_url).username or "guest")
    _ask(place, "PUT", f"vhosts/{name}")
    _ask(place, "PUT", f"permissions/{name}/{user}", {"configure": ".*", "write": ".*", "read": ".*"})
    try:
        yield place
    finally:
        _clear(place)


def _clear(place: Place) -> None:
    _ask(place, "DELETE", f"vhosts/{place.name}", missing_ok=True)
    try:
        with Redis.from_url(place.redis_url, socket_timeout=_TIMEOUT) as redis:
            for key in redis.scan_iter(match=f"{place.name}:*", count=1000):
                redis.delete(key)
    except RedisError as error:
        raise DemoFailed(f"Redis (TAKETURNS_REDIS_URL) does not let the demo in: {error}") from error


def _ask(place: Place, method: str, path: str, body: object = None, *, missing_ok: bool = False) -> None:
    parts = urlsplit(place.management_url)
    login = HTTPBasicAuth(unquote(parts.username or "guest"), unquote(parts.password or "guest"))
    base = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    try:
        answer = requests.request(method, f"{base}/api/{path}", auth=login, json=body, timeout=_TIMEOUT)
    except requests.RequestException as error:
        raise DemoFailed(f"RabbitMQ's management API (TAKETURNS_MANAGEMENT_URL) is away: {error}") from error
    if not answer.ok and not (missing_ok and answer.status_code == requests.codes.not_found):
        raise DemoFailed(
            f"RabbitMQ's management API answered {answer.status_code} to {method} {base}/api/{path}. The demo needs "
            "a user that may make vhosts (tag administrator) in TAKETURNS_AMQP_URL and TAKETURNS_MANAGEMENT_URL"
        )
