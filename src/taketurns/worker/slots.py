"""The slot that Celery counts as taken by a request."""

from __future__ import annotations

from typing import Any

from celery.worker import state


def release(consumer: Any, request: Any) -> None:
    """Free the slot of a request that failed before the pool had it: it would count as taken for ever."""
    state.task_ready(request)
    of_semaphore = getattr(consumer.controller, "_quick_release", None)  # prefork's
    if of_semaphore is not None:
        of_semaphore()
