"""Fills queues before a measurement: the same messages as ``apply_async`` sends, confirmed many at a time."""

from __future__ import annotations

import socket
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import amqp
from amqp.method_framing import frame_writer
from kombu import Connection
from kombu.serialization import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from celery import Celery

_WITHIN = 120.0  # seconds for the broker to confirm what was sent
_AT_A_TIME = 200


class Task(NamedTuple):
    """A task to publish."""

    tenant: str
    key: int
    seconds: float = 0.0


class Loader:
    """A connection that declares and publishes without waiting for each answer."""

    def __init__(self, url: str) -> None:
        # py-amqp gives up after a second in which the broker reads nothing; it does that to who publishes too fast.
        patient = {"socket_settings": {socket.TCP_USER_TIMEOUT: int(_WITHIN * 1000)}}
        self._connection = Connection(url, transport_options=patient)
        self.channel = self._connection.channel()
        self._sent = self._confirmed = 0
        self.channel.confirm_select()
        self.channel.events["basic_ack"].add(self._on_ack)
        lower = self._connection.connection
        self._writes = _Writes(lower.transport.write)
        lower.frame_writer = frame_writer(lower, self._writes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writes.flush()
        self._connection.close()

    def declare(self, queues: Iterable[str], *, exchange: str, arguments: Mapping[str, Any]) -> None:
        """Declare durable queues and bind each to a direct exchange by its name; return when all are there."""
        for queue in queues:
            self.channel.queue_declare(
                queue, durable=True, auto_delete=False, arguments=dict(arguments), nowait=True
            )
            self.channel.queue_bind(queue, exchange=exchange, routing_key=queue, nowait=True)
        self.channel.basic_qos(0, 1, False)  # an answer to this one comes after all of them

    def publish(self, exchange: str, routing_key: str, message: amqp.Message) -> None:
        """Send a message, perhaps a little later; [confirm][] waits until the broker has it."""
        self._writes.held = True
        self.channel.basic_publish(message, exchange=exchange, routing_key=routing_key)
        self._sent += 1
        if self._sent % _AT_A_TIME == 0:
            self._writes.flush()
            self._drain(0)

    def confirm(self) -> None:
        """Wait until the broker has confirmed all that was sent.

        Raises:
            TimeoutError: it did not.
        """
        self._writes.flush()
        deadline = time.monotonic() + _WITHIN
        while self._confirmed < self._sent:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the broker confirmed {self._confirmed} of {self._sent} messages")
            self._drain(1)

    def _drain(self, timeout: float) -> None:
        try:
            while True:
                self._connection.drain_events(timeout=timeout)
                timeout = 0
        except TimeoutError:
            pass

    def _on_ack(self, delivery_tag: int, _multiple: bool) -> None:
        self._confirmed = max(self._confirmed, delivery_tag)


class _Writes:
    """Writes to the socket, or holds what is to be written until [flush][]: py-amqp would write each message."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.held = False
        self._write = write
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Take some frames; py-amqp uses the memory again."""
        if self.held:
            self._waiting.append(bytes(data))
        else:
            self._write(data)

    def flush(self) -> None:
        """Write all that waits, and from now on at once."""
        self.held = False
        if self._waiting:
            self._write(b"".join(self._waiting))
            self._waiting.clear()


class Messages:
    """Makes the messages that ``apply_async`` would send for one run's tasks, from one that Celery made.

    Args:
        app: the app.
        name: the task's name.
        run: the run, the first argument of every task.
        headers: more headers, given the task.
        **properties: more AMQP properties.
    """

    def __init__(
        self,
        app: Celery,
        name: str,
        run: str,
        headers: Callable[[Task], Mapping[str, str]] = lambda _: {},
        **properties: Any,
    ) -> None:
        self._run = run
        self._more = headers
        self._reply_to = app.thread_oid
        self._properties = properties
        self._made = app.amqp.as_task_v2("", name, args=(run, 0, 0.0), kwargs={}, ignore_result=True)

    def of(self, task: Task) -> amqp.Message:
        """Return the message of a task."""
        task_id = str(uuid.uuid4())
        args = (self._run, task.key, task.seconds)
        _, kwargs, embedded = self._made.body
        content_type, content_encoding, body = dumps((args, kwargs, embedded), serializer="json")
        own = {"id": task_id, "root_id": task_id, "argsrepr": repr(args)}
        return amqp.Message(
            body,
            content_type=content_type,
            content_encoding=content_encoding,
            delivery_mode=2,
            application_headers={**self._made.headers, **own, **self._more(task)},
            correlation_id=task_id,
            reply_to=self._reply_to,
            **self._properties,
        )
