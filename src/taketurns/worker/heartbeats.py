"""Heartbeats while a task keeps the loop from sending them: in the solo pool, which runs tasks in the loop itself.

Without them the broker takes a worker for dead whose task takes three heartbeats' time, and gives the task to the
next one, and so on.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from amqp.exceptions import AMQPError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Heartbeats:
    """Sends them from a thread of its own, and only while the loop's thread is in a task, so not on the connection.

    Args:
        connection: the py-amqp connection; if heartbeats are off there, nothing is sent.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._in_task = False
        self._closed = threading.Event()
        if connection.heartbeat:
            threading.Thread(target=self._beat, name="taketurns heartbeats", daemon=True).start()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Send them while the block runs, which must leave the connection alone."""
        with self._lock:
            self._in_task = True
        try:
            yield
        finally:
            with self._lock:
                self._in_task = False
            # The broker's own were not read meanwhile; py-amqp would take it for silent before it reads them.
            self._connection.last_heartbeat_received = monotonic()

    def close(self) -> None:
        """Let the thread end."""
        self._closed.set()

    def _beat(self) -> None:
        while not self._closed.wait(self._connection.heartbeat / 4):
            with self._lock:
                if self._in_task:
                    try:
                        self._connection.send_heartbeat()
                    except (AMQPError, OSError):
                        return  # the loop will see that the connection is lost
