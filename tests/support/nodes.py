"""Nodes that have never held anything, and that nobody minds if they are killed.

A node keeps what it has freed, so a used one tells little of memory; and a broker that others use can't be ended.
"""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import requests

from support.uninterrupted import uninterrupted
from support.workers import children_of
from taketurns.services.identity import Identity
from taketurns.services.rabbitmq import PortMapper, RabbitMQ
from taketurns.services.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Servers
    from taketurns.services.server import Server

TREE: Final = Path(os.environ.get("RABBITMQ43_ROOT", "/var/tmp/rabbitmq-4.3"))  # noqa: S108  # the script's default
"""Where the script of the 4.3 node has installed it."""


class TreeRabbitMQ(RabbitMQ):
    """The RabbitMQ of that tree, with its data in a directory there; needs root."""

    def prepare(self) -> list[str]:
        """See the base class."""
        super().prepare()
        return ["chroot", str(TREE), "/usr/lib/rabbitmq/bin/rabbitmq-server"]

    def environment(self) -> dict[str, str]:
        """Return the same paths as the node sees them."""
        own = super().environment() | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        return {name: value.removeprefix(str(TREE)) for name, value in own.items()}


class FreshNodes:
    """A RabbitMQ and a Redis of a directory of their own.

    Attributes:
        identity: their addresses and secrets, the same after a restart.
        broker: the RabbitMQ.
        redis: the Redis.
    """

    def __init__(
        self, directory: Path, kind: type[RabbitMQ], redis_kind: type[RedisServer] = RedisServer
    ) -> None:
        kinds: tuple[type[Server], ...] = (PortMapper, redis_kind, kind)
        self.identity = Identity.prepare(directory, [port for each in kinds for port in each.ports])
        self.broker: Server = kind(directory, self.identity)
        self.redis: Server = redis_kind(directory, self.identity)
        self._all = [PortMapper(directory, self.identity), self.redis, self.broker]

    def start(self) -> None:
        """Start everything, in order, and wait until it answers."""
        for server in self._all:
            server.start()

    def stop(self) -> None:
        """Stop everything, and wait until it has gone."""
        for server in self._all:
            server.request_stop()
        for server in self._all:
            server.wait_until_gone()


@contextmanager
def directory_for(kind: type[RabbitMQ]) -> Iterator[Path]:
    """Lend a directory in which such a node can keep its data, until the block ends."""
    parent = TREE / "tmp" if issubclass(kind, TreeRabbitMQ) else None
    with tempfile.TemporaryDirectory(prefix="taketurns-", dir=parent, ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def fresh_nodes(kind: type[RabbitMQ] = RabbitMQ) -> Iterator[FreshNodes]:
    """Run a RabbitMQ and a Redis with nothing in them until the block ends."""
    with directory_for(kind) as directory:
        nodes = FreshNodes(directory, kind)
        try:
            nodes.start()
            yield nodes
        finally:
            with uninterrupted():
                nodes.stop()


def runs_on_the_tree(servers: Servers) -> bool:
    """Return whether the tests' RabbitMQ is a 4, and that tree is here: then nodes of their own come from it too."""
    overview = requests.get(f"{servers.management_url}/api/overview", timeout=30).json()
    return TREE.exists() and not overview["rabbitmq_version"].startswith("3.")


def kill(server: Server) -> None:
    """End a server by SIGKILL, as the kernel does when memory is short, and wait until it has gone."""
    guardian = int((server.directory / f"{server.name}.lock").read_text())
    for child in children_of(guardian):
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    server.wait_until_gone()


def restart(server: Server) -> None:
    """Stop a server as an operator does, and start it again."""
    server.request_stop()
    server.wait_until_gone()
    server.start()
