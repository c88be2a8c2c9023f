"""Who a directory's nodes are: their names, secrets and ports, kept in one file beside their data.

Names and secrets are made once, since RabbitMQ stores them in its data; a port is kept while it is free or its
server runs, so that addresses survive a restart.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final, Self

from taketurns.services.ports import LOOPBACK, all_free, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE = "nodes.json"

CONSUMER_TIMEOUT: Final = 24 * 3600.0
"""Seconds that a consumer of a private node may hold a message. RabbitMQ's default of half an hour ends long tasks:
their message goes back, and they run again. But a consumer that hangs for ever is to lose its messages some day."""

_CLUSTER: Final = re.compile(r"taketurns-[0-9a-f]{8}@.+", re.ASCII)


@dataclass(frozen=True)
class Ports:
    """The ports of all servers of one directory."""

    amqp: int
    management: int
    distribution: int
    epmd: int
    redis: int

    @classmethod
    def choose(cls) -> Self:
        """Choose five free ones."""
        return cls(*free_ports(5))


@dataclass(frozen=True)
class Identity:
    """Names, secrets and ports of one directory's nodes."""

    node: str
    password: str
    redis_password: str
    cookie: str
    ports: Ports
    user: str = "taketurns"

    @property
    def amqp_url(self) -> str:
        """RabbitMQ's address with credentials, on its default vhost."""
        return f"amqp://{self.user}:{self.password}@{LOOPBACK}:{self.ports.amqp}//"

    @property
    def management_url(self) -> str:
        """The management API's address with credentials."""
        return f"http://{self.user}:{self.password}@{LOOPBACK}:{self.ports.management}"

    @property
    def redis_url(self) -> str:
        """Redis' address with its password."""
        return f"redis://:{self.redis_password}@{LOOPBACK}:{self.ports.redis}/0"

    @classmethod
    def create(cls) -> Self:
        """Make a new one."""
        return cls(
            node=f"taketurns-{secrets.token_hex(4)}@localhost",
            password=secrets.token_hex(16),
            redis_password=secrets.token_hex(16),
            cookie=secrets.token_hex(16),
            ports=Ports.choose(),
        )

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """Return the identity of a directory's nodes; None if it never had any."""
        try:
            stored = json.loads((directory / FILE).read_text())
        except FileNotFoundError:
            return None
        return cls(**stored | {"ports": Ports(**stored["ports"])})

    @classmethod
    def prepare(cls, directory: Path, ports: Iterable[str]) -> Self:
        """Return the directory's identity for the next start, made or with new ports if need be; store it.

        Args:
            directory: where it is kept.
            ports: the names of those ports that servers are about to be started on.
        """
        identity = cls.read(directory) or cls.create()
        taken = [name for name in ports if not all_free([getattr(identity.ports, name)])]
        new = dict(zip(taken, free_ports(len(taken)), strict=True))
        identity = replace(identity, ports=replace(identity.ports, **new))
        write_private(directory / FILE, json.dumps(asdict(identity), indent=2) + "\n")
        return identity


def is_private(cluster: str) -> bool:
    """Tell by its cluster's name whether a RabbitMQ node is one of ours, with our configuration."""
    return _CLUSTER.fullmatch(cluster) is not None


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file that nobody else may read, replacing what is there."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
