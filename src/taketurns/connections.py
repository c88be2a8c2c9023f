"""The connections that a process publishes through: bounded in number, each used by one thread at a time."""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from amqp.exceptions import AccessRefused, AMQPError, FrameSyntaxError, NotFound
from kombu import Connection
from kombu.exceptions import OperationalError

from taketurns import confirms, tls
from taketurns.errors import BrokerUnavailable, PublishNotConfirmed, TaketurnsError
from taketurns.refusals import BROKER_URL, refused
from taketurns.transports import SCHEMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

T = TypeVar("T")


class PublishConnection(Connection):
    """A kombu connection for confirmed publishing, on which nothing lasts beyond a deadline.

    It never retries by itself, whatever retry policy a caller names; the publisher does that, knowing what may
    have been stored already.
    """

    _deadline = math.inf
    _default_channel: confirms.Channel | None

    @classmethod
    def of(cls, app: Celery) -> PublishConnection:
        """Return an unconnected one with the app's own broker, credentials, TLS and failover hosts.

        Raises:
            TaketurnsError: the app's broker is not RabbitMQ.
        """
        source = app.connection_for_write()
        if source.transport_cls not in SCHEMES:
            raise TaketurnsError(
                f"taketurns needs RabbitMQ, but the app's broker is {source.transport_cls!r}: "
                f"set broker_url to amqp://… or amqps://…, or TAKETURNS_AMQP_URL if the app names none"
            )
        options = dict(source.transport_options or {})
        options.pop("confirm_publish", None)
        options["client_properties"] = {
            "connection_name": "taketurns publisher",
            **options.get("client_properties", {}),
        }
        return cls(**{**source.info(), "alternates": list(source.alt), "transport_options": options})

    def get_transport_cls(self) -> type[confirms.Transport | confirms.SSLTransport]:
        """Return ours, also after a failover to a URL that names another one."""
        return confirms.SSLTransport if self.transport_cls == "amqps" else confirms.Transport

    def ensure(self, _obj: Any, fun: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
        """Return ``fun`` as it is, without kombu's retries."""
        return fun

    def begin(self, seconds: float) -> None:
        """Allow what follows this many seconds, and drop a connection that the broker has left meanwhile."""
        self.extend(seconds)
        if not self.connected:
            return
        try:
            self.drain_events(timeout=0)
        except (OSError, AMQPError) as error:
            if not confirms.is_deadline(error):
                self.collect()

    def extend(self, seconds: float) -> None:
        """Allow what follows this many seconds, while the connection is in use."""
        self._deadline = time.monotonic() + seconds
        if self.connected:
            self.connection.deadline = self._deadline

    def mailbox(self, app: Celery) -> Any:
        """Return the mailbox of the app's remote control, which sends and receives on this connection."""
        mailbox = app.control.mailbox(self)
        mailbox.producer_pool = None  # Celery's own would wait for a lost broker without end
        return mailbox

    def attempt(self, operation: Callable[[], T], *, repair: Callable[[], None]) -> T:
        """Run an operation, and once more if the connection was lost or something it needs did not exist.

        Args:
            operation: what to do, on [default_channel][].
            repair: declares what may have been missing; called before the second attempt.

        Raises:
            BrokerUnavailable: it failed, and nothing was accepted.
            BrokerRefused: the user lacks a permission for it, and nothing was accepted.
            PublishNotConfirmed: it failed, and the first or the second attempt may have been accepted.
            FrameSyntaxError: AMQP has no form for a value that was to be sent.
        """
        with self._translated():
            try:
                return operation()
            except (OSError, AMQPError) as error:
                if not _may_succeed_now(error):
                    raise
                first = error
            self.collect()
            try:
                if isinstance(first, confirms.Returned | NotFound):
                    repair()
                return operation()
            except (OSError, AMQPError) as error:
                if isinstance(first, confirms.ConnectionLost) and not isinstance(error, PublishNotConfirmed):
                    raise first from error  # the first attempt may have been accepted, after all
                raise

    @property
    def default_channel(self) -> confirms.Channel:
        """The confirming channel; connects if need be.

        Raises:
            BrokerUnavailable: no connection came about before the deadline.
            BrokerRefused: RabbitMQ does not let the user in.
        """
        try:
            if not self.connected:
                self._connect()
            if self._default_channel is None:
                self._default_channel = self.channel()
        except (OSError, AMQPError) as error:
            self.collect()
            raise self.failure(_unreachable(self.as_uri(), error), error) from error
        return self._default_channel

    def failure(self, what: str, error: BaseException) -> BrokerUnavailable:
        """Return the error to raise for one of py-amqp or of the socket.

        Args:
            what: what is wrong.
            error: why; a refusal says what is missing, and one of ours is returned as it is.
        """
        if isinstance(error, BrokerUnavailable):
            return error
        return refused(error, user=self.userid) or BrokerUnavailable(what)

    @contextmanager
    def ending_on_failure(self, what: str) -> Iterator[None]:
        """Have a failure in the block end the connection; the next use opens a new one.

        Args:
            what: what fails then; the reason is added to it.

        Raises:
            BrokerUnavailable: RabbitMQ is away, or did not do it in time.
            BrokerRefused: the user lacks a permission for it.
        """
        try:
            yield
        except (OSError, AMQPError) as error:
            self.collect()
            if isinstance(error, BrokerUnavailable):
                raise
            raise self.failure(f"{what}: {error}", error) from error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FrameSyntaxError:
            raise
        except (OSError, AMQPError) as error:
            if isinstance(error, BrokerUnavailable):
                raise
            raise self.failure(f"RabbitMQ failed: {error}", error) from error

    def _connect(self) -> None:
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("timed out")
        hosts = len(self.alt) or 1
        if seconds < math.inf:
            self.connect_timeout = seconds / hosts
        self.ensure_connection(
            max_retries=hosts - 1, interval_start=0, interval_step=0, reraise_as_library_errors=False
        )
        self.connection.deadline = self._deadline


class ConnectionPool:
    """At most ``limit`` connections; who finds them all busy waits for one. Thread-safe and fork-safe.

    A forked child starts with none: it must not touch the sockets that it shares with its parent.
    """

    def __init__(self, make: Callable[[], PublishConnection], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._inherited: list[PublishConnection] = []
        self._idle: list[PublishConnection] = []
        self._slots = threading.BoundedSemaphore(limit)
        call_after_fork(self._forget)

    @contextmanager
    def lease(self, seconds: float) -> Iterator[PublishConnection]:
        """Lend a connection that has begun its ``seconds``; after an error it is reconnected before its next use.

        Raises:
            BrokerUnavailable: no connection became free within that time.
        """
        began = time.monotonic()
        slots = self._slots
        if not slots.acquire(timeout=seconds):
            raise BrokerUnavailable(
                f"all {self._limit} publish connections were busy for {seconds:.1f} s; "
                f"TAKETURNS_PUBLISH_CONNECTIONS may allow more"
            )
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._make()
            connection.begin(seconds - (time.monotonic() - began))
            try:
                yield connection
            except BaseException:
                connection.collect()  # its state is unknown: a confirm may be under way on it
                raise
            finally:
                self._idle.append(connection)
        finally:
            slots.release()

    def close(self, seconds: float) -> None:
        """Close the idle connections. The pool may be used again and opens new ones then."""
        while self._idle:
            connection = self._idle.pop()
            connection.begin(seconds)
            connection.release()

    def _forget(self) -> None:
        # Kept, not closed: closing would end the parent's connections.
        self._inherited += self._idle
        self._idle = []
        self._slots = threading.BoundedSemaphore(self._limit)


def broker_version(app: Celery, timeout: float) -> str:
    """Return the version of the app's broker; see [broker_properties][] for the rest."""
    return str(broker_properties(app, timeout).get("version", ""))


def broker_properties(app: Celery, timeout: float) -> dict[str, Any]:
    """Return what the app's broker says of itself, by a connection of its own: those of the pool may all be in use.

    With it goes ``tls``, how the connection is secured, and ``unverified``, what TLS does not verify; see
    [secured][taketurns.tls.secured] and [unverified][taketurns.tls.unverified].

    Args:
        app: the Celery app.
        timeout: seconds that each of the app's brokers has for its connection.

    Raises:
        BrokerUnavailable: none of them can be reached.
        BrokerRefused: the broker does not let the user in.
    """
    try:
        with app.connection_for_write(connect_timeout=timeout) as connection:
            others = len(connection.alt or ()) or 1
            try:
                connection.ensure_connection(max_retries=others - 1, interval_start=0, interval_step=0)
            except (OperationalError, AMQPError) as error:
                refusal = refused(error, user=connection.userid)
                raise refusal or BrokerUnavailable(_unreachable(connection.host, error)) from error
            sock = connection.connection.sock
            secured = {"tls": tls.secured(sock), "unverified": tls.unverified(sock)}
            return {**connection.connection.server_properties, **secured}
    except (OperationalError, AMQPError) as error:
        raise BrokerUnavailable(str(error)) from error


def _unreachable(address: str, error: Exception) -> str:
    """Return what is wrong if there is no connection, and what to do about it."""
    cause = error.__cause__ if isinstance(error, OperationalError) and error.__cause__ else error
    advice = tls.hint(cause) or f"see that it runs and that {BROKER_URL} leads to it"
    return f"RabbitMQ could not be reached at {address}: {error}; {advice}"


def _may_succeed_now(error: Exception) -> bool:
    if isinstance(error, confirms.ConnectionLost | confirms.Returned):
        return True
    final = isinstance(error, BrokerUnavailable | FrameSyntaxError | AccessRefused)
    return not (final or confirms.is_deadline(error))


def call_after_fork(method: Callable[[], None]) -> None:
    """Have a bound method called in every forked child, for as long as its object lives."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        if (living := reference()) is not None:
            living()

    os.register_at_fork(after_in_child=call)
