"""The threads pool, which tells the worker's loop nothing of the end of a task that was acknowledged before it."""

from __future__ import annotations

from functools import wraps
from typing import Any

from celery.concurrency.thread import TaskPool


def wake_after_each_task(pool: Any, hub: Any) -> None:
    """Have the loop see at once that a thread is free; without that its slot waits for the next timer."""
    if not isinstance(pool, TaskPool):
        return
    on_apply = pool.on_apply

    @wraps(on_apply)
    def apply_and_wake(*args: Any, **options: Any) -> Any:
        result = on_apply(*args, **options)
        # Celery's own callbacks are part of what the thread does, so the slot is free by then.
        result.f.add_done_callback(lambda _: hub.call_soon(_nothing))
        return result

    pool.on_apply = apply_and_wake


def _nothing() -> None:
    """Only the loop's pass counts."""
