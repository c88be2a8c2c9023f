"""Heartbeats while a task keeps the loop from sending them: in the solo pool, which runs tasks in the loop itself.

Without them the broker takes a worker for dead whose task takes three heartbeats' time, and gives the task to the
next one, and so on.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from amqp.exceptions import AMQPError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Heartbeats:
    """Sends them from a thread of its own, and only while the loop's thread is in a task, so not on a connection.

    Args:
        connections: the py-amqp connections of the worker's loop; where heartbeats are off, none are sent.
    """

    def __init__(self, connections: Iterable[Any]) -> None:
        self._connections = [each for each in connections if each.heartbeat]
        self._lock = threading.Lock()
        self._in_task = False
        self._closed = threading.Event()
        if self._connections:
            threading.Thread(target=self._beat, name="taketurns heartbeats", daemon=True).start()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Send them while the block runs, which must leave the connections alone."""
        with self._lock:
            self._in_task = True
        try:
            yield
        finally:
            with self._lock:
                self._in_task = False
            for connection in self._connections:
                # The broker's own were not read meanwhile; py-amqp would take it for silent before it reads them.
                connection.last_heartbeat_received = monotonic()

    def close(self) -> None:
        """Let the thread end."""
        self._closed.set()

    def _beat(self) -> None:
        interval = min(each.heartbeat for each in self._connections) / 4
        while not self._closed.wait(interval):
            with self._lock:
                for connection in self._connections if self._in_task else ():
                    with suppress(AMQPError, OSError):  # the loop will see that it is lost
                        connection.send_heartbeat()
