"""Publishing into tenant queues: the queue is there, the message is confirmed, or an error says so in time."""

from __future__ import annotations

import logging
import math
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from amqp import Message
from amqp.exceptions import NotFound, PreconditionFailed

from taketurns import delays
from taketurns.connections import ConnectionPool, PublishConnection, call_after_fork
from taketurns.errors import BrokerUnavailable, RegistryUnavailable
from taketurns.producers import ConfirmedProducer, WindowProducer
from taketurns.sending_on import sent_on
from taketurns.tenants import queue_name
from taketurns.topology import (
    EXCHANGE,
    TENANT_QUEUE_ARGUMENTS,
    add_consumer_arguments,
    declare_shared,
    tenant_queue,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from celery import Celery
    from kombu import Queue

    from taketurns.registry import Registry
    from taketurns.settings import Settings

logger = logging.getLogger(__name__)
T = TypeVar("T")

_TOUCH_INTERVAL = 1.0
_REMEMBERED = 100_000  # tenants that a process remembers before it starts afresh

_deadline: ContextVar[float] = ContextVar("taketurns_deadline", default=math.inf)
"""When all that is under way must have ended, on the monotonic clock: a submission is several calls."""


class Publisher:
    """Publishes for one app. Thread-safe, and safe after a fork.

    Every call ends within ``settings.broker.publish_timeout`` seconds, and so do all of a block of [in_time][]. A
    connection that turns out to be lost is replaced once, and what was under way on it is sent again: a message may
    then be there twice, never not at all.
    """

    def __init__(self, app: Celery, settings: Settings, registry: Registry) -> None:
        self._app = app
        self._registry = registry
        self._seconds = settings.broker.publish_timeout
        self._queue_type = settings.broker.queue_type
        self._pool = ConnectionPool(lambda: PublishConnection.of(app), settings.broker.publish_connections)
        self._shared = False
        self._ladder = False
        self._ensured: set[str] = set()
        self._foreign: set[str] = set()
        self._touched: dict[str, float] = {}
        self._workers: list[str] = []
        self._declaring = threading.Lock()
        call_after_fork(self._renew_lock)

    @contextmanager
    def in_time(self, seconds: float | None = None) -> Iterator[None]:
        """Have all that this thread does here in the block end within so many seconds together.

        Args:
            seconds: by default ``publish_timeout``.
        """
        token = _deadline.set(min(_deadline.get(), time.monotonic() + (seconds or self._seconds)))
        try:
            yield
        finally:
            _deadline.reset(token)

    def ensure(self, tenant: str) -> str:
        """Return the name of the tenant's queue, which exists then; declare it if this process has not yet.

        The workers are told of a new one, as a hint: they find it by themselves as well. While the reaper is removing
        the queue it is left alone, and a task for it goes to the lost queue.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
            BrokerUnavailable: the queue could not be declared in time.
        """
        name = queue_name(tenant)
        if self.touch(tenant):
            self._ensured.discard(name)
        if name in self._ensured or self._is_draining(tenant):
            return name
        if not self._declaring.acquire(timeout=self.left()):
            raise BrokerUnavailable(f"other declarations kept {name!r} waiting for too long")
        try:
            if name in self._ensured:  # another thread was quicker
                return name
            with self._pool.lease(self.left()) as connection:
                self._attempt(connection, partial(self._declare, connection, tenant))
            if len(self._ensured) >= _REMEMBERED:
                self._ensured.clear()
            self._ensured.add(name)
        finally:
            self._declaring.release()
        self.broadcast([tenant])
        return name

    def touch(self, tenant: str, until: float | None = None) -> bool:
        """Record the tenant's activity, at most once a second; True if there was none, so its queue may be gone.

        Args:
            tenant: the tenant.
            until: a Unix time until which the tenant counts as active, for delayed tasks.

        While Redis is away nothing is recorded, and the answer is False: a task for a queue that was removed
        takes the way through the lost queue then.
        """
        now = time.monotonic()
        if until is None and now - self._touched.get(tenant, -_TOUCH_INTERVAL) < _TOUCH_INTERVAL:
            return False
        try:
            unknown = self._registry.touch(tenant, until=until)
        except RegistryUnavailable:
            return False
        if len(self._touched) >= _REMEMBERED:
            self._touched.clear()
        self._touched[tenant] = now
        return unknown

    def delayed(self, seconds: float) -> tuple[str, dict[str, bool]]:
        """Return the exchange and the headers that delay a message by ``seconds``; the ladder exists then.

        Raises:
            InvalidInput: the delay is too long.
            BrokerUnavailable: the ladder could not be declared in time.
        """
        delays.plan(seconds)  # one that is too long is refused before anything is declared
        began = time.monotonic()
        if not self._ladder:
            with self._pool.lease(self.left()) as connection:
                self._attempt(connection, partial(self._declare_shared, connection, ladder=True))
        return delays.plan(max(0.0, seconds - (time.monotonic() - began)))

    def waiting(self, queue: str) -> int:
        """Return how many messages wait in a queue, by the broker's own count; none if it does not exist.

        Raises:
            BrokerUnavailable: the broker did not tell in time.
        """
        return self.waiting_if_any(queue) or 0

    def waiting_if_any(self, queue: str) -> int | None:
        """Return how many messages wait in a queue, by the broker's own count; None if it does not exist.

        Raises:
            BrokerUnavailable: the broker did not tell in time.
        """

        def look() -> int | None:
            try:
                return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
            except NotFound:  # py-amqp has opened the channel anew
                return None

        with self._pool.lease(self.left()) as connection:
            return self._attempt(connection, look)

    @contextmanager
    def producer(self, into: Queue | None = None) -> Iterator[ConfirmedProducer]:
        """Lend a kombu producer whose ``publish()`` returns when the broker has confirmed the message.

        Args:
            into: a queue that others may delete; it is declared before each message.

        Raises:
            BrokerUnavailable: no connection became free in time.
        """
        with self._pool.lease(self.left()) as connection:
            yield ConfirmedProducer(connection, self.left, partial(self._attempt, connection), into)

    @contextmanager
    def together(self) -> Iterator[WindowProducer]:
        """Lend a kombu producer whose messages are confirmed together, when its ``settle()`` returns.

        Raises:
            BrokerUnavailable: no connection became free in time.
        """
        with self._pool.lease(self.left()) as connection:
            producer = WindowProducer(connection, self.left, partial(self._attempt, connection))
            try:
                yield producer
            finally:
                producer.end()

    def publish(
        self,
        body: bytes,
        *,
        routing_key: str,
        exchange: str = EXCHANGE,
        properties: Mapping[str, Any],
        into: Queue | None = None,
    ) -> None:
        """Send a received message on as it is, persistent and mandatory, and return when it is confirmed.

        Args:
            body: the encoded body.
            routing_key: the name of the queue, for the shared exchange and the ladder.
            exchange: the shared exchange, the ladder's (see [delayed][]), or ``""`` for a queue by its name.
            properties: AMQP properties such as ``content_type`` and ``application_headers``, those of a received
                message for instance.
            into: a queue that others may delete; it is declared before.

        Raises:
            BrokerUnavailable: nothing was accepted.
            PublishNotConfirmed: it may have been stored, or no queue took it.
        """
        message = Message(body, **sent_on(properties))

        def put() -> None:
            channel = connection.default_channel
            if into is not None:
                into(channel).declare()
            channel.basic_publish(message, exchange=exchange, routing_key=routing_key, mandatory=True)

        with self._pool.lease(self.left()) as connection:
            self._attempt(connection, put)

    def broadcast(self, tenants: Collection[str]) -> None:
        """Tell the workers that serve tenants to consume these tenants' queues; a hint that may get lost."""
        try:
            self._workers = self._registry.workers()
        except RegistryUnavailable:
            logger.debug("Redis is away; the broadcast goes to the workers of the last known list")
        if not self._workers:
            return
        try:
            for tenant in tenants:
                self.tell(self._workers, "add_consumer", add_consumer_arguments(tenant, self._queue_type))
        except BrokerUnavailable as error:
            logger.warning("workers were not told of a new tenant queue and will find it later: %s", error)

    def tell(
        self, workers: Collection[str], command: str, arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Send one of Celery's control commands to some workers, without waiting for what they answer.

        Raises:
            BrokerUnavailable: it could not be sent in time.
        """
        with self._pool.lease(self.left()) as connection:
            cast = connection.mailbox(self._app).cast
            self._attempt(connection, partial(cast, list(workers), command, dict(arguments or {})))

    def left(self) -> float:
        """Return the seconds that the next operation has."""
        return max(0.0, min(self._seconds, _deadline.get() - time.monotonic()))

    def close(self) -> None:
        """Close the idle connections; a later publish opens new ones."""
        self._pool.close(self._seconds)

    def _is_draining(self, tenant: str) -> bool:
        """Tell whether the way into the tenant's queue is closed: to bind it now would open it before the delete."""
        try:
            return tenant in self._registry.draining()
        except RegistryUnavailable:
            return False  # without Redis no reaper removes anything

    def _declare(self, connection: PublishConnection, tenant: str) -> None:
        self._declare_shared(connection)
        queue = tenant_queue(tenant, self._queue_type)
        refusal: PreconditionFailed | None = None
        # One of our other type is from before the setting was changed, and used as it is.
        for queue_type in sorted(TENANT_QUEUE_ARGUMENTS, key=lambda each: each != self._queue_type):
            try:
                tenant_queue(tenant, queue_type)(connection.default_channel).queue_declare()
                break
            except PreconditionFailed as error:
                connection.collect()
                refusal = refusal or error
        else:
            if queue.name not in self._foreign:
                self._foreign.add(queue.name)
                logger.warning(
                    "queue %s was declared otherwise by somebody, used as it is: %s", queue.name, refusal
                )
        queue(connection.default_channel).queue_bind()

    def _declare_shared(self, connection: PublishConnection, *, ladder: bool = False) -> None:
        if not self._shared:
            declare_shared(connection.default_channel)
            self._shared = True
        if ladder and not self._ladder:
            delays.declare(connection.default_channel)
            self._ladder = True

    def _repair(self, connection: PublishConnection) -> None:
        """Declare again what this process thought was there."""
        ladder, self._shared, self._ladder = self._ladder, False, False
        self._declare_shared(connection, ladder=ladder)

    def _attempt(self, connection: PublishConnection, operation: Callable[[], T]) -> T:
        return connection.attempt(operation, repair=partial(self._repair, connection))

    def _renew_lock(self) -> None:
        self._declaring = threading.Lock()  # another thread may have held it when this process was forked
