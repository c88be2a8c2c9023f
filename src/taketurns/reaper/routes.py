"""The way into tenant queues, closed while they are being removed."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from amqp.exceptions import NotFound

from taketurns.connections import PublishConnection
from taketurns.tenants import queue_name
from taketurns.topology import EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

    from celery import Celery


class Routes:
    """The bindings of tenant queues to the shared exchange. For one thread.

    Without its binding a queue gets no more tasks; they go to the lost queue, and from there to the tenant by the
    recoverer. A binding that is missing by accident heals the same way, since the recoverer makes it again.
    """

    def __init__(self, app: Celery, *, timeout: float) -> None:
        """Prepare; nothing is opened yet.

        Args:
            app: the app, which knows the broker.
            timeout: seconds that the broker has for connecting and for each answer.
        """
        self._timeout = timeout
        self._connection = PublishConnection.of(app)
        self._closed: set[str] = set()

    def close(self, tenants: Collection[str]) -> None:
        """Have new tasks of these tenants go to the lost queue.

        Raises:
            BrokerUnavailable: that could not be done for all of them.
        """
        for tenant in tenants:
            self._closed.add(tenant)
            name = queue_name(tenant)
            with self._channel() as channel:
                channel.queue_unbind(name, EXCHANGE, name)

    def reopen(self, tenants: Collection[str]) -> None:
        """Undo ``close()`` for those of these tenants for which it was called and whose queue is still there.

        Raises:
            BrokerUnavailable: that could not be done for all of them.
        """
        for tenant in self._closed.intersection(tenants):
            name = queue_name(tenant)
            with self._channel() as channel, suppress(NotFound):
                channel.queue_bind(name, EXCHANGE, name)

    def disconnect(self) -> None:
        """Close the connection and forget what was closed; the next call opens a new one."""
        self._closed.clear()
        self._connection.begin(self._timeout)
        self._connection.release()

    @contextmanager
    def _channel(self) -> Iterator[Any]:
        self._connection.begin(self._timeout)
        with self._connection.ending_on_failure("RabbitMQ could not change a tenant queue's binding"):
            yield self._connection.default_channel
