"""The threads pool and the worker's loop, both real."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from celery.concurrency.thread import TaskPool

from taketurns.loop import Loop
from taketurns.worker.threads import wake_after_each_task


def test_the_loop_wakes_when_a_thread_is_free() -> None:
    """Though nothing is acknowledged then; and after Celery's own callback, which frees the slot."""
    happened: list[str] = []
    pool = TaskPool(1)
    pool.start()
    with closing(Loop()) as loop:
        wake_after_each_task(pool, loop)
        call_soon = loop.call_soon

        def woken(*arguments: Any) -> Any:
            happened.append("woken")
            return call_soon(*arguments)

        loop.call_soon = woken
        result = pool.apply_async(happened.append, ("ran",), callback=lambda _: happened.append("free"))
        result.wait()
        pool.stop()
    assert happened == ["ran", "free", "woken"]
