"""Servers that speak TLS and ask for a client certificate, with a CA of their own, and users that may do little."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import amqp
import requests
import trustme

from support.nodes import FreshNodes, TreeRabbitMQ, directory_for
from taketurns.services.ports import LOOPBACK, free_ports
from taketurns.services.rabbitmq import RabbitMQ
from taketurns.services.redis_server import RedisServer
from taketurns.settings import Settings, TlsSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.permissions import Permissions
    from taketurns.services.identity import Identity

PREFIX = "/rabbit"
HOST = "localhost"
"""What the servers' certificates name; the address is not among it."""

_BROKER = """\
listeners.ssl.1 = {host}:{amqps}
ssl_options.cacertfile = {home}/ca.pem
ssl_options.certfile = {home}/server.pem
ssl_options.keyfile = {home}/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
management.path_prefix = {prefix}
management.ssl.ip = {host}
management.ssl.port = {https}
management.ssl.cacertfile = {home}/ca.pem
management.ssl.certfile = {home}/server.pem
management.ssl.keyfile = {home}/server.key
management.ssl.verify = verify_peer
management.ssl.fail_if_no_peer_cert = true
"""

_REDIS = """\
tls-port {port}
tls-ca-cert-file "{home}/ca.pem"
tls-cert-file "{home}/server.pem"
tls-key-file "{home}/server.key"
tls-auth-clients yes
"""


class Certificates:
    """Those of one CA, made anew, as files of a directory."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self.directory = directory
        self._authority.cert_pem.write_to_path(directory / "ca.pem")
        self.write("server", HOST)
        self.write("client", "client.example.com")

    def write(self, name: str, host: str) -> None:
        """Write ``NAME.pem`` and ``NAME.key``, a certificate for a host and its private key."""
        issued = self._authority.issue_cert(host)
        issued.cert_chain_pems[0].write_to_path(self.directory / f"{name}.pem")
        issued.private_key_pem.write_to_path(self.directory / f"{name}.key")

    @property
    def settings(self) -> TlsSettings:
        """What a client has to go by."""
        path = self.directory
        return TlsSettings(
            ca_file=path / "ca.pem", cert_file=path / "client.pem", key_file=path / "client.key"
        )


class SecureRabbitMQ(RabbitMQ):
    """RabbitMQ with TLS for AMQP and for its management API, which has a path prefix."""

    def __init__(self, directory: Path, identity: Identity) -> None:
        super().__init__(directory, identity)
        self.amqps, self.https = free_ports(2)

    def prepare(self) -> list[str]:
        """See the base class."""
        command = super().prepare()
        home = Path(self.environment()["HOME"]).parent  # as the node sees it
        more = _BROKER.format(host=LOOPBACK, amqps=self.amqps, https=self.https, home=home, prefix=PREFIX)
        with (self._home / "rabbitmq.conf").open("a") as file:
            file.write(more)
        return command

    def answers(self) -> bool:
        """See the base class; the management API is elsewhere."""
        try:
            self.manage("GET", "overview?columns=node")
            address, who = f"{LOOPBACK}:{self._identity.ports.amqp}", self._identity
            with amqp.Connection(address, who.user, who.password, connect_timeout=5, read_timeout=5):
                return True
        except (OSError, amqp.AMQPError):
            return False

    def manage(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the management API something, as the administrator."""
        url = f"{self._identity.management_url}{PREFIX}/api/{path}"
        answer = requests.request(method, url, json=body, timeout=30)
        answer.raise_for_status()
        return json.loads(answer.content) if answer.content else None


class SecureTreeRabbitMQ(SecureRabbitMQ, TreeRabbitMQ):
    """The same, of the RabbitMQ 4.3 in the tree."""


class SecureRedis(RedisServer):
    """Redis with TLS."""

    def __init__(self, directory: Path, identity: Identity) -> None:
        super().__init__(directory, identity)
        (self.port,) = free_ports(1)

    def prepare(self) -> list[str]:
        """See the base class."""
        command = super().prepare()
        with (self._home / "redis.conf").open("a") as file:
            file.write(_REDIS.format(port=self.port, home=self.directory))
        return command


class SecureServers:
    """A RabbitMQ, 3.10 or 4.3, and a Redis.

    Attributes:
        certificates: those of the servers and of their clients.
        vhost: the only vhost in which anybody has permissions.
    """

    vhost = "eu/shop"

    def __init__(self, directory: Path, kind: type[SecureRabbitMQ]) -> None:
        self.certificates = Certificates(directory)
        self.nodes = FreshNodes(directory, kind, SecureRedis)
        assert isinstance(self.nodes.broker, SecureRabbitMQ)
        assert isinstance(self.nodes.redis, SecureRedis)
        self.broker = self.nodes.broker
        self._redis = self.nodes.redis

    def start(self) -> None:
        """Start both, with an empty vhost."""
        self.nodes.start()
        self.broker.manage("PUT", f"vhosts/{quote(self.vhost, safe='')}")

    def add_user(self, name: str, permissions: Permissions | None, *tags: str) -> None:
        """Make a user with a password that is its name, or change what it may."""
        self.broker.manage("PUT", f"users/{name}", {"password": name, "tags": ",".join(tags)})
        if permissions is not None:
            self.broker.manage("PUT", f"permissions/{quote(self.vhost, safe='')}/{name}", asdict(permissions))

    def refusals(self) -> list[str]:
        """Return the lines of RabbitMQ's log that tell of something that a user may not do."""
        return [
            line
            for log in self.nodes.broker.directory.rglob("*.log")
            for line in log.read_text(errors="replace").splitlines()
            if "access_refused" in line or "refused for user" in line
        ]

    def amqps_url(self, user: str, host: str = HOST) -> str:
        """Return RabbitMQ's address."""
        return f"amqps://{user}:{user}@{host}:{self.broker.amqps}/{quote(self.vhost, safe='')}"

    def https_url(self, user: str, host: str = HOST) -> str:
        """Return the management API's address."""
        return f"https://{user}:{user}@{host}:{self.broker.https}{PREFIX}/"

    def rediss_url(self, host: str = HOST) -> str:
        """Return Redis' address."""
        return f"rediss://:{self.nodes.identity.redis_password}@{host}:{self._redis.port}/0"

    def settings(self, user: str, redis_prefix: str = "secure", **changes: Any) -> Settings:
        """Return the settings of a process that is this user of RabbitMQ.

        Args:
            user: the user of AMQP and of the management API.
            redis_prefix: the start of its keys.
            **changes: changed settings of TLS.
        """
        base = Settings.load()
        return replace(
            base,
            broker=base.broker.model_copy(
                update={"amqp_url": self.amqps_url(user), "management_url": self.https_url(user)}
            ),
            redis=base.redis.model_copy(
                update={"redis_url": self.rediss_url(), "redis_prefix": redis_prefix}
            ),
            tls=self.certificates.settings.model_copy(update=changes),
        )


@contextmanager
def secure_servers(*, on_the_tree: bool) -> Iterator[SecureServers]:
    """Run them until the block ends."""
    kind = SecureTreeRabbitMQ if on_the_tree else SecureRabbitMQ
    with ExitStack() as stack:
        directory = stack.enter_context(directory_for(kind))
        servers = SecureServers(directory, kind)
        stack.callback(servers.nodes.stop)
        servers.start()
        yield servers
