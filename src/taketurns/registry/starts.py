"""How often a task was started whose worker died: what tells a crash loop from bad luck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from taketurns.store import Client, Store

_KEPT: Final = 7 * 24 * 3600
"""Seconds that a start is remembered after the last one."""


class Starts:
    """Counts starts by task id, in Redis; without it the count begins anew. Thread-safe.

    A classic queue does not count deliveries, and a delivery is no start: messages that were never started are
    given back too. So whoever starts a message that was delivered before says so here.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def count(self, task_id: str) -> int:
        """Count one more start, and return how many there were.

        Raises:
            RegistryUnavailable: Redis is away.
        """

        def add(redis: Client) -> int:
            with redis.pipeline() as pipe:
                starts, _ = pipe.incr(self._key(task_id)).expire(self._key(task_id), _KEPT).execute()
            return int(starts)

        return self._store.call(add)

    def of(self, task_id: str) -> int:
        """Return how many starts were counted.

        Raises:
            RegistryUnavailable: Redis is away.
        """
        return int(self._store.call(lambda redis: redis.get(self._key(task_id))) or 0)

    def forget(self, task_id: str) -> None:
        """Forget the starts of a task that has ended by itself.

        Raises:
            RegistryUnavailable: Redis is away.
        """
        self._store.call(lambda redis: redis.delete(self._key(task_id)))

    def _key(self, task_id: str) -> str:
        return self._store.key("starts", task_id)
