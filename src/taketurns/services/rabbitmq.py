"""A private RabbitMQ node, and the Erlang port mapper (epmd) of its own.

RabbitMQ would start an epmd that outlives it, on a port that all Erlang nodes of the machine share. So one is
started first, in the foreground and on a port of its own; RabbitMQ finds it there.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import amqp
import requests

from taketurns.services.identity import CONSUMER_TIMEOUT, write_private
from taketurns.services.ports import LOOPBACK
from taketurns.services.programs import find_program
from taketurns.services.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from taketurns.services.identity import Identity

_CONFIGURATION = """\
listeners.tcp.1 = {host}:{amqp}
management.tcp.ip = {host}
management.tcp.port = {management}
default_user = {user}
default_pass = {password}
consumer_timeout = {consumer_timeout}
"""


class PortMapper(Server):
    """The epmd of one RabbitMQ node."""

    name = "epmd"
    ports = ("epmd",)
    start_within = 10.0

    def __init__(self, directory: Path, identity: Identity) -> None:
        super().__init__(directory)
        self._port = identity.ports.epmd

    def prepare(self) -> list[str]:
        """Return the command; there is nothing to write."""
        return [find_program("epmd") or "epmd", "-address", LOOPBACK, "-port", str(self._port)]

    def answers(self) -> bool:
        """Return whether it accepts connections."""
        with socket.socket() as client:
            client.settimeout(1)
            return client.connect_ex((LOOPBACK, self._port)) == 0


class RabbitMQ(Server):
    """A RabbitMQ node with the management plugin, its data and its only user in the directory."""

    name = "rabbitmq"
    ports = ("amqp", "management", "distribution")
    start_within = 90.0
    # Its stores are closed in the first tenth of a second, and what it confirmed is in its journal anyhow;
    # 3.10 then waits five seconds more for an event handler of its own.
    grace = 3.0

    def __init__(self, directory: Path, identity: Identity) -> None:
        super().__init__(directory)
        self._identity = identity
        self._home = directory / "rabbitmq"

    def prepare(self) -> list[str]:
        """Write configuration, plugin list and cookie; return the command."""
        self._home.mkdir(exist_ok=True)
        who = self._identity
        configuration = _CONFIGURATION.format(
            host=LOOPBACK,
            amqp=who.ports.amqp,
            management=who.ports.management,
            user=who.user,
            password=who.password,
            consumer_timeout=f"{CONSUMER_TIMEOUT * 1000:.0f}",  # milliseconds
        )
        write_private(self._home / "rabbitmq.conf", configuration)
        write_private(self._home / "enabled_plugins", "[rabbitmq_management].\n")
        write_private(self._home / ".erlang.cookie", who.cookie, mode=0o400)
        return [find_program("rabbitmq-server") or "rabbitmq-server"]

    def environment(self) -> dict[str, str]:
        """Return the environment: own paths for all files that would otherwise be those of the system's node.

        With it ``rabbitmqctl`` talks to this node.
        """
        home, ports = self._home, self._identity.ports
        return super().environment() | {
            "HOME": str(home),  # the cookie is here
            "ERL_EPMD_PORT": str(ports.epmd),
            "RABBITMQ_NODENAME": self._identity.node,
            "RABBITMQ_DIST_PORT": str(ports.distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": str(home / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(home / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(home / "data"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            # The script becomes the server instead of standing in front of it: signals reach the server.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def answers(self) -> bool:
        """Return whether the user can use the management API and open an AMQP connection."""
        who = self._identity
        amqp_address = f"{LOOPBACK}:{who.ports.amqp}"
        try:
            # Answered with 500 until the statistics are there, a moment after the listener.
            overview = f"{who.management_url}/api/overview"
            requests.get(overview, params={"columns": "node"}, timeout=5).raise_for_status()
            with amqp.Connection(amqp_address, who.user, who.password, connect_timeout=5, read_timeout=5):
                return True
        except (OSError, amqp.AMQPError):  # those of requests are OSErrors
            return False
