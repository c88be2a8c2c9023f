"""The task records in Redis."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections import Counter
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final, cast

from taketurns.records.durations import WINDOW, Percentiles, percentiles, window_of
from taketurns.records.events import of_record, read
from taketurns.records.lifecycle import is_over
from taketurns.records.record import TaskRecord, priority_name
from taketurns.texts import encodable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from taketurns.records.lifecycle import Step, Stored
    from taketurns.settings import RecordsSettings
    from taketurns.store import Client, Store

_FIELDS: Final = (
    "name",
    "state",
    "queue",
    "submitted",
    "priority",
    "tags",
    "depends_on",
    "due",
    "started",
    "ended",
    "worker",
    "attempts",
    "error",
    "progress",
)
_WHAT: Final = {"started": "b", "progress": "p"}
"""What kinds of steps the script tells apart, but for ends."""

_READ_AT_ONCE: Final = 500
_COUNTED_AT_ONCE: Final = 1000


class Records:
    """What became of tenants' tasks, for a while. Thread-safe, and safe after a fork.

    All that is here is lost with Redis, and none of it is needed to run a task: whose record is lost has one again
    from its next step on. Every method raises RegistryUnavailable while Redis is away.

    Args:
        store: keeps them.
        settings: how many, and for how long.
    """

    def __init__(self, store: Store, settings: RecordsSettings) -> None:
        self._store = store
        self._settings = settings
        self._write = store.batch(__package__, "write.lua")
        self._count = store.script(__package__, "count.lua")

    def write(self, steps: Mapping[str, Sequence[Step]]) -> None:
        """Write down what happened to tasks, by tenant, in the order in which it happened.

        What is written twice is told twice, and the record is the same.
        """
        self._write([self._call(tenant, some) for tenant, some in steps.items() if some])

    def get(self, tenant: str, task_id: str) -> TaskRecord | None:
        """Return the record of a tenant's task; None: there is none (any more), or it is another tenant's."""
        return self.of(tenant, [task_id])[0]

    def of(self, tenant: str, task_ids: Sequence[str]) -> list[TaskRecord | None]:
        """Return the records of several tasks of a tenant, in the same order."""

        def look(redis: Client) -> list[list[str | None]]:
            with redis.pipeline(transaction=False) as pipe:
                for task_id in task_ids:
                    pipe.hmget(self.key(tenant, task_id), _FIELDS)
                found: list[list[str | None]] = pipe.execute()
                return found

        return [
            self._read(tenant, task_id, values)
            for task_id, values in zip(task_ids, self._store.call(look), strict=True)
        ]

    def gone_on(self, tenant: str, task_id: str, attempt: str) -> Stored | None:
        """Return the state of a task of which this attempt is over; None: it is not, or nobody knows.

        Args:
            tenant: whose task it is.
            task_id: the task's id.
            attempt: as [attempt_of][taketurns.records.lifecycle.attempt_of] tells it.
        """
        key = self.key(tenant, task_id)
        state, over = self._store.call(lambda redis: redis.hmget(key, "state", "over"))
        return cast("Stored", state) if is_over(attempt, over or "") else None

    def ids(
        self, tenant: str, *, before: tuple[float, str] | None = None, count: int
    ) -> list[tuple[float, str]]:
        """Return when a tenant's tasks were submitted, and their ids, the latest first.

        Args:
            tenant: the tenant.
            before: the last one that was returned before.
            count: how many at most.
        """
        index = self._index(tenant)
        found: list[tuple[float, str]] = []
        latest = "+inf" if before is None else repr(before[0])
        skipped = 0
        while len(found) < count:
            size = max(count, _READ_AT_ONCE)
            look = methodcaller(
                "zrevrangebyscore", index, latest, "-inf", start=skipped, num=size, withscores=True
            )
            entries: list[tuple[str, float]] = self._store.call(look)
            # Tasks of the same moment are in the order of their ids, backwards too.
            found += [(at, task_id) for task_id, at in entries if before is None or (at, task_id) < before]
            skipped += len(entries)
            if len(entries) < size:
                break
        return found[:count]

    def history(self, tenant: str, task_id: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the events of a task, each with its id, in the order in which they were told.

        Of each is told what it is, as ``event``, when it was, as ``at`` in seconds since 1970, and what else there is
        to tell. Of its progress only the last one is kept.
        """
        stored: dict[str, str] = self._store.call(lambda redis: redis.hgetall(self.key(tenant, task_id)))
        return [(event_id, read(text)) for event_id, text in of_record(stored)]

    def delayed(self, tenant: str) -> int:
        """Return how many tasks of a tenant are delayed, or wait to be tried again; of those that are recorded."""
        key = self._delayed(tenant)
        return int(self._store.call(lambda redis: redis.zcount(key, f"({time.time()!r}", "+inf")))

    def counts(self, tenant: str) -> Counter[tuple[str, str | None]]:
        """Return how many of a tenant's tasks are in each state, by priority; as many as are recorded."""
        counts: Counter[tuple[str, str | None]] = Counter()
        now = time.time()
        for first in itertools.count(0, _COUNTED_AT_ONCE):
            last = first + _COUNTED_AT_ONCE - 1
            found = self._count([self._index(tenant)], [self.key(tenant, ""), first, last, now])
            for kind, count in zip(found[::2], found[1::2], strict=True):
                state, _, priority = kind.partition(" ")
                counts[state, priority_name(priority)] += count
            if not found:
                break
        return counts

    def durations(self, tenant: str) -> tuple[Percentiles | None, Percentiles | None]:
        """Return how long a tenant's tasks waited and ran in the last half hour to hour; None: there were none.

        A task waits from the moment at which it could have started; of those that ran only the good ends count.
        """
        now = window_of(time.time())

        def look(redis: Client) -> list[dict[str, str]]:
            with redis.pipeline(transaction=False) as pipe:
                for window in (now - 1, now):
                    pipe.hgetall(self._durations(tenant, window))
                found: list[dict[str, str]] = pipe.execute()
                return found

        windows = self._store.call(look)
        return percentiles(windows, "w"), percentiles(windows, "r")

    def forget(self, tenant: str, task_ids: Iterable[str]) -> None:
        """Forget tasks that were not accepted."""

        def remove(redis: Client) -> None:
            with redis.pipeline(transaction=False) as pipe:
                for task_id in task_ids:
                    pipe.delete(self.key(tenant, task_id))
                    pipe.zrem(self._index(tenant), task_id)
                    pipe.zrem(self._delayed(tenant), task_id)
                pipe.execute()

        self._store.call(remove)

    def events(self, tenant: str) -> str:
        """Return the key of the stream of a tenant's events, and the name of the channel that tells them."""
        return self._store.tenant_key(tenant, "happened")

    def _call(self, tenant: str, steps: Sequence[Step]) -> tuple[list[str], list[str | float]]:
        places: dict[str, int] = {}
        told = [_told(step, places.setdefault(step.task_id, len(places) + 1)) for step in steps]
        window = window_of(time.time())
        keys = [
            self._index(tenant),
            self.events(tenant),
            self._delayed(tenant),
            self._store.tenant_key(tenant, "ended"),
            self._durations(tenant, window),
            *(self.key(tenant, each) for each in places),
        ]
        settings = self._settings
        return keys, [
            math.ceil(settings.ttl * 1000),
            settings.max_tasks,
            settings.max_events,
            self.key(tenant, ""),
            2 * WINDOW,
            # What a task raised or noted may have what JSON can write as an escape, and neither Redis nor UTF-8 can.
            encodable(json.dumps(told, ensure_ascii=False, separators=(",", ":"))),
        ]

    def _read(self, tenant: str, task_id: str, values: Sequence[str | None]) -> TaskRecord | None:
        stored = {name: value for name, value in zip(_FIELDS, values, strict=True) if value is not None}
        return TaskRecord.read(tenant, task_id, stored) if "state" in stored else None

    def _index(self, tenant: str) -> str:
        return self._store.tenant_key(tenant, "tasks")

    def _delayed(self, tenant: str) -> str:
        return self._store.tenant_key(tenant, "delayed")

    def _durations(self, tenant: str, window: int) -> str:
        return self._store.tenant_key(tenant, "durations", str(window))

    def key(self, tenant: str, task_id: str) -> str:
        """Return the key of a task's record."""
        return self._store.tenant_key(tenant, "record", task_id)


def _told(step: Step, place: int) -> list[Any]:
    """Return a step as the script takes it."""
    at = f"{step.at:.6f}"
    fields = step.fields
    values: list[str] = ["name", step.name] if step.name else []
    for name, value in fields.items():
        values += name, str(value)
    what = _WHAT.get(step.kind, "")
    if step.is_final:
        what = "f"
        values += "ended", at
    order = -1 if step.asked else step.order
    told: list[Any] = [place, step.task_id, order, what, step.state or "", at, step.event(), values]
    if "due" in fields and (due := fields["due"]) and float(due) > step.at:
        told += f"{float(due):.6f}", math.ceil((float(due) - step.at) * 1000)
    return told
