"""Servers for the tests: real ones, and nothing of them shared.

RabbitMQ and Redis are those that ``TAKETURNS_AMQP_URL``, ``TAKETURNS_MANAGEMENT_URL`` and ``TAKETURNS_REDIS_URL``
name, or else private nodes that live as long as the test run. Each test has a vhost and a Redis key prefix of its
own, both removed afterwards.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests

from support.redis_keys import lose_keys
from support.servers import Broker, Servers
from taketurns.errors import RegistryUnavailable
from taketurns.services import PrivateNodes
from taketurns.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SERVER_VARIABLES = ("TAKETURNS_AMQP_URL", "TAKETURNS_MANAGEMENT_URL", "TAKETURNS_REDIS_URL")


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "have the API fuzzed at length: how many random requests each operation gets, at most"
    parser.addoption("--fuzz", type=int, metavar="COUNT", help=told)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    given = [os.environ.get(name) for name in SERVER_VARIABLES]
    if all(given):
        yield Servers(*(str(url) for url in given))
        return
    if any(given):
        pytest.exit(f"set all of {', '.join(SERVER_VARIABLES)}, or none of them", returncode=2)
    directory: Path = tmp_path_factory.mktemp("nodes")
    with PrivateNodes(directory) as nodes:
        yield Servers(nodes.amqp_url, nodes.management_url, nodes.redis_url)


@pytest.fixture
def broker(servers: Servers) -> Iterator[Broker]:
    vhost = f"test-{uuid.uuid4().hex[:12]}"
    parts = urlsplit(servers.amqp_url)
    url = f"{servers.management_url}/api/vhosts/{vhost}"
    requests.put(url, timeout=30).raise_for_status()
    yield Broker(f"amqp://{parts.netloc}/{vhost}", servers.management_url, vhost)
    requests.delete(url, timeout=30).raise_for_status()


@pytest.fixture
def redis_prefix(servers: Servers) -> Iterator[str]:
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    yield prefix
    lose_keys(servers.redis_url, prefix)


@pytest.fixture
def settings(broker: Broker, servers: Servers, redis_prefix: str) -> Settings:
    """Settings that lead to this test's own vhost and key prefix."""
    base = Settings.load()
    own_broker = {"amqp_url": broker.amqp_url, "management_url": broker.management_url}
    own_redis = {"redis_url": servers.redis_url, "redis_prefix": redis_prefix}
    return replace(
        base,
        broker=base.broker.model_copy(update=own_broker),
        redis=base.redis.model_copy(update=own_redis),
    )


@pytest.fixture(params=["refusing", "silent"])
def nowhere(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that refuses every connection, or takes it and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=512)) as server:
        address = "{}:{}".format(*server.getsockname())
        if request.param == "refusing":
            server.close()
        yield address


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Return a function that waits until a condition holds, and fails at the deadline if it doesn't.

    A condition that Redis did not answer in its quarter of a second, on a busy machine, is asked for again.
    """

    def look(condition: Callable[[], object]) -> object:
        try:
            return condition()
        except RegistryUnavailable:
            return False

    def wait(condition: Callable[[], object], *, within: float = 10.0, what: str = "") -> None:
        deadline = time.monotonic() + within
        while not (last := look(condition)):
            if time.monotonic() > deadline:
                pytest.fail(f"not within {within} s: {what or condition} (last: {last!r})")
            time.sleep(0.02)

    return wait
