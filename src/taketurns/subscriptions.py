"""Subscriptions to tasks' results, which Celery makes before it publishes a task, in a backend that may be away.

Celery lets that error out of ``apply_async``, and nothing is submitted. Here the task is submitted all the same:
whoever waits for its result subscribes then.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final

logger = logging.getLogger(__name__)

_AGAIN_AFTER: Final = 10.0
"""Seconds until a backend that failed is asked again: with a lost connection Celery tries for about as long."""


class Subscriptions:
    """Subscribes to results, as long as their backend answers. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._not_before = 0.0

    def begin(self, backend: Any, producer: Any, task_id: str) -> None:
        """Subscribe to the result of a task that is about to be published.

        Args:
            backend: the app's result backend.
            producer: that of the task.
            task_id: its id.
        """
        with self._lock:
            if time.monotonic() < self._not_before:
                return
        try:
            backend.on_task_call(producer, task_id)
        except Exception as error:  # noqa: BLE001  # whatever the client of the app's backend raises
            with self._lock:
                self._not_before = time.monotonic() + _AGAIN_AFTER
            logger.warning("tasks are submitted although the result backend is away: %s", error)
