"""Where the demo's tasks write their own time stamps: a Redis list for each round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from redis import Redis

Event = Literal["started", "ended"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger; ``at`` in seconds since 1970, by the clock of the task's machine."""

    event: Event
    task_id: str
    at: float


class Ledger:
    """The time stamps of one round.

    A task that runs twice writes twice.
    """

    def __init__(self, redis: Redis, prefix: str, name: str) -> None:
        self._redis = redis
        self._key = f"{prefix}:ledger:{name}"

    def started(self, task_id: str, at: float) -> None:
        """Write that a task has started."""
        self._write("started", task_id, at)

    def ended(self, task_id: str, at: float) -> None:
        """Write that a task has ended."""
        self._write("ended", task_id, at)

    def read(self, start: int) -> list[Entry]:
        """Return the entries from the ``start``-th on, in the order of their writing."""
        rows = cast("list[bytes]", self._redis.lrange(self._key, start, -1))
        return [_parse(row.decode()) for row in rows]

    def _write(self, event: Event, task_id: str, at: float) -> None:
        self._redis.rpush(self._key, f"{event} {task_id} {at!r}")


def _parse(row: str) -> Entry:
    event, task_id, at = row.split()
    return Entry("started" if event == "started" else "ended", task_id, float(at))
