"""Which tasks are not to run any more, for all workers to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taketurns.delays import LONGEST
from taketurns.store import redis_now

if TYPE_CHECKING:
    from collections.abc import Collection

    from taketurns.store import Client, Store

_KEPT: Final = LONGEST + 24 * 3600.0
"""Seconds after which nobody waits any more for the message of a task that was cancelled."""


class Cancellations:
    """The ids of cancelled tasks whose messages are still on their way. Thread-safe.

    They are lost with Redis: a task that was cancelled before that, and has not come to a worker yet, then runs.
    Every method raises RegistryUnavailable while Redis is away.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = store.key("{.all}", "cancelled")

    def add(self, task_ids: Collection[str]) -> None:
        """Have no worker start these tasks any more; workers that are not told see it within a second."""

        def note(redis: Client) -> None:
            now = redis_now(redis)
            with redis.pipeline() as pipe:
                pipe.zremrangebyscore(self._key, "-inf", now - _KEPT)
                pipe.zadd(self._key, dict.fromkeys(task_ids, now))
                pipe.execute()

        if task_ids:
            self._store.call(note)

    def since(self, moment: float) -> tuple[list[str], float]:
        """Return the tasks that were cancelled at a moment or later, and the present moment, by Redis' clock."""

        def look(redis: Client) -> tuple[list[str], float]:
            now = redis_now(redis)
            return redis.zrangebyscore(self._key, moment, "+inf"), now

        return self._store.call(look)

    def has(self, task_id: str) -> bool:
        """Tell whether a task is cancelled and its message has not come."""
        return self._store.call(lambda redis: redis.zscore(self._key, task_id)) is not None

    def discard(self, task_ids: Collection[str]) -> None:
        """Forget tasks whose messages have come."""
        if task_ids:
            self._store.call(lambda redis: redis.zrem(self._key, *task_ids))
