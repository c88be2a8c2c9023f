"""Nodes that have never held anything: what a node has freed it keeps, so a used one tells little of memory."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.uninterrupted import uninterrupted
from taketurns.services.identity import Identity
from taketurns.services.rabbitmq import PortMapper, RabbitMQ
from taketurns.services.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@contextmanager
def fresh_node(kind: type[RabbitMQ] = RabbitMQ) -> Iterator[Identity]:
    """Run a RabbitMQ and a Redis with nothing in them until the block ends."""
    parent = TREE / "tmp" if issubclass(kind, TreeRabbitMQ) else None
    with tempfile.TemporaryDirectory(
        prefix="taketurns-bench-", dir=parent, ignore_cleanup_errors=True
    ) as name:
        directory = Path(name)
        kinds: tuple[type[Server], ...] = (PortMapper, RedisServer, kind)
        identity = Identity.prepare(directory, [port for each in kinds for port in each.ports])
        servers: list[Server] = [
            PortMapper(directory, identity),
            RedisServer(directory, identity),
            kind(directory, identity),
        ]
        try:
            for server in servers:
                server.start()
            yield identity
        finally:
            with uninterrupted():
                for server in servers:
                    server.request_stop()
                for server in servers:
                    server.wait_until_gone()
