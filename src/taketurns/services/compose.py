"""The same two servers from Docker Compose, where their programs are not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from taketurns.services.rabbitmq import RabbitMQ
from taketurns.services.redis_server import RedisServer
from taketurns.services.server import Server

if TYPE_CHECKING:
    from taketurns.services.identity import Identity

# The repository's file: a checkout has it, an installed package does not.
_FILE = Path(__file__).parents[3] / "docker-compose.yml"


def engine_answers() -> bool:
    """Return whether containers can be started here: docker, its engine, Compose and our file are there."""
    if shutil.which("docker") is None or not _FILE.is_file():
        return False
    try:
        for check in (["docker", "info"], ["docker", "compose", "version"]):
            subprocess.run(check, check=True, capture_output=True, timeout=20)
    except subprocess.SubprocessError:
        return False
    return True


class ComposedServers(Server):
    """RabbitMQ and Redis as containers of a project of this directory's own.

    ``docker compose up`` stays in the foreground, so a guardian ends it as it ends any other server.
    """

    name = "compose"
    ports = ("amqp", "management", "redis")
    start_within = 600.0  # the images may have to be pulled
    grace = 30.0  # killed before it has stopped its containers, it would leave them behind

    def __init__(self, directory: Path, identity: Identity) -> None:
        super().__init__(directory)
        self._identity = identity
        self._inside = (RabbitMQ(directory, identity), RedisServer(directory, identity))

    def prepare(self) -> list[str]:
        """Return the command; the containers get their configuration from the environment."""
        project = self._identity.node.partition("@")[0]
        return ["docker", "compose", "-p", project, "-f", str(_FILE), "up", "rabbitmq", "redis"]

    def environment(self) -> dict[str, str]:
        """Return the caller's environment, where docker finds its engine, and what the compose file needs."""
        who = self._identity
        return dict(os.environ) | {
            "RABBITMQ_USER": who.user,
            "RABBITMQ_PASSWORD": who.password,
            "RABBITMQ_PORT": str(who.ports.amqp),
            "RABBITMQ_MANAGEMENT_PORT": str(who.ports.management),
            "REDIS_PASSWORD": who.redis_password,
            "REDIS_PORT": str(who.ports.redis),
            "TAKETURNS_API_JWT_SECRET": "unused",  # the file asks for it, though not for these two
        }

    def answers(self) -> bool:
        """Return whether both servers answer."""
        return all(server.answers() for server in self._inside)
