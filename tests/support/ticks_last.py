"""The app of ``support.shop`` in a worker whose loop calls taketurns after the pool in each pass.

kombu keeps what it calls in each pass in a set, so the order is another one in each process; here it is the bad one.
"""

from __future__ import annotations

from typing import Any

from celery import bootsteps

from support.shop import app
from taketurns.worker.step import TenantQueues


class _OursLast(set[Any]):
    """``hub.on_tick`` in which the methods of objects come last: taketurns', while the pool's is a plain function."""

    def __copy__(self) -> list[Any]:
        return sorted(self, key=lambda callback: hasattr(callback, "__self__"))


class TicksLast(bootsteps.StartStopStep):
    """Puts the loop's callbacks in that order."""

    requires = (TenantQueues,)

    def start(self, consumer: Any) -> None:
        """Keep what is registered by now."""
        consumer.hub.on_tick = _OursLast(consumer.hub.on_tick)


app.steps["consumer"].add(TicksLast)
