"""kombu's connections to RabbitMQ, each of which verifies the certificate of the very host that it connects to.

With ``server_hostname=None`` in ``broker_use_ssl`` kombu fills in the host, but does so in the options that all
connections share: after a failover the second host's certificate would have to name the first one, and so would
not be accepted. And it calls ``localhost`` 127.0.0.1 before.
"""

from __future__ import annotations

from typing import Any

from celery.app.amqp import AMQP as CeleryAMQP  # noqa: N811  # ours is to have the same name
from kombu import Connection
from kombu.connection import ConnectionPool, PooledConnection
from kombu.transport import pyamqp

from taketurns import tls
from taketurns.buffered import ReadsAtOnce
from taketurns.loop import Loop

SCHEMES = frozenset({"amqp", "amqps", "pyamqp", "librabbitmq"})
"""What kombu calls a connection to RabbitMQ."""


class VerifiesHost:
    """Mixed into a kombu transport of RabbitMQ."""

    client: Any

    def establish_connection(self) -> Any:
        """Connect; a TLS error tells what to do.

        Raises:
            ConnectionError: TLS failed.
        """
        client = self.client
        shared, host = client.ssl, client.hostname
        if isinstance(shared, dict):
            client.ssl = dict(shared)
            if "server_hostname" in shared and shared["server_hostname"] is None:
                client.ssl["server_hostname"] = host or "localhost"
        try:
            return super().establish_connection()  # type: ignore[misc]  # the transport's
        except OSError as error:
            if tls.hint(error):
                raise ConnectionError(tls.with_hint(error)) from error
            raise
        finally:
            client.ssl, client.hostname = shared, host


class Transport(VerifiesHost, ReadsAtOnce, pyamqp.Transport):
    """kombu's transport; it speaks TLS too, where ``broker_use_ssl`` says so."""


class SSLTransport(VerifiesHost, ReadsAtOnce, pyamqp.SSLTransport):
    """The same for ``amqps://``."""


class _OfOurTransports:
    """Mixed into a kombu connection, which then has such a transport if it is one to RabbitMQ."""

    transport_cls: Any

    def get_transport_cls(self) -> Any:
        """Return ours, also after a failover to a URL that names another one."""
        if self.transport_cls not in SCHEMES:
            return super().get_transport_cls()  # type: ignore[misc]  # the connection's
        return SSLTransport if self.transport_cls == "amqps" else Transport


class BrokerConnection(_OfOurTransports, Connection):
    """kombu's connection, and those of its pool, which submissions and the workers' answers go through."""

    requires_hub = Loop
    """What a worker's loop is made of; Celery asks its connection for that."""

    def Pool(self, limit: int | None = None, **options: Any) -> ConnectionPool:  # noqa: N802  # kombu's name
        """Return a pool of such connections; kombu's would have kombu's own, whatever this one is."""
        return _BrokerPool(self, limit, **options)


class _PooledConnection(_OfOurTransports, PooledConnection):
    """One of a pool."""


class _BrokerPool(ConnectionPool):
    def new(self) -> _PooledConnection:
        """Make one."""
        return _PooledConnection(self, **dict(self.connection._info(resolve=False)))  # noqa: SLF001  # as kombu does


class AMQP(CeleryAMQP):
    """Celery's ``app.amqp``, with these connections."""

    Connection = BrokerConnection
