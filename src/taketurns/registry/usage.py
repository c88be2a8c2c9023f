"""What tenants had on all workers together, and whose queues wait there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from taketurns.store import Client, Store

_KEPT: Final = 3600
"""Seconds for which the totals stay after the last report: they matter by their growth only."""

_WAITS: Final = 2
"""Seconds for which a queue that was reported to wait counts as waiting."""

_HELPED: Final = 20
"""Waiting queues that are named to one who asks, chosen by chance so that all who ask don't go to the same."""


class Spent(NamedTuple):
    """What a queue's tasks took."""

    microseconds: int
    tasks: int
    """How many have started."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one worker tells the others.

    Attributes:
        worker: its node name.
        number: tells this report from the worker's others. After an error the same ``used`` is told again with the
            same number: whether it was added before or not, it counts once.
        used: what each queue's tasks took since its last report; less than nothing corrects that one.
        watched: the queues of which it wants to know what they had on all workers.
        waiting: queues that wait for a turn there.
        idle: whether it could help others, and wants to know which queues wait.
    """

    worker: str
    number: str
    used: Mapping[str, Spent]
    watched: Collection[str]
    waiting: Collection[str]
    idle: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """What is known of all workers together.

    Attributes:
        used: what each watched queue's tasks took so far; counted from a moment that is not known.
        waiting: some queues that wait elsewhere; empty for one that did not ask.
    """

    used: Mapping[str, Spent]
    waiting: Collection[str]


class Usage:
    """Keeps the totals in Redis. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._microseconds = store.key("{.all}", "usage")
        self._tasks = store.key("{.all}", "tasks")
        self._waiting = store.key("{.all}", "waiting")
        self._exchange = store.script(__package__, "usage.lua")

    def exchange(self, report: Report) -> Totals:
        """Add a report to the totals and return them.

        Raises:
            RegistryUnavailable: Redis is away; the report may have been added, and can be told again.
        """
        watched = list(report.watched)
        microseconds, tasks, named = self._exchange(
            [
                self._microseconds,
                self._tasks,
                self._waiting,
                self._store.key("{.all}", "told", report.worker),
            ],
            [
                json.dumps(report.used),
                json.dumps(watched),
                json.dumps(list(report.waiting)),
                _WAITS,
                _HELPED if report.idle else 0,
                _KEPT,
                report.number,
            ],
        )
        used = map(Spent, map(int, microseconds.split()), map(int, tasks.split()))
        return Totals(dict(zip(watched, used, strict=True)), named)

    def forget(self, queue: str) -> None:
        """Forget what a queue's tasks took; the queue is gone."""

        def remove(redis: Client) -> None:
            with redis.pipeline() as pipe:
                pipe.hdel(self._microseconds, queue).hdel(self._tasks, queue).execute()

        self._store.call(remove)
