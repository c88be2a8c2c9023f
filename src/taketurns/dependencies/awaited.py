"""Which tasks others wait for, and how they have ended: in Redis, for all processes to know."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from taketurns.records.lifecycle import Stored
    from taketurns.records.records import Records
    from taketurns.store import Client, Store

DAY: Final = 86_400.0
"""Seconds for which a tenant counts as one that uses dependencies, after each use."""

_KEPT: Final = 90 * 86_400
_MOST: Final = 100_000
"""Ends of tasks that are kept of each tenant, at most: beyond its records, for tasks that wait for several."""


class Awaited:
    """Knows the tenants that use dependencies, the tasks that others wait for, and their ends. Thread-safe.

    All of it is lost with Redis, and comes again: from the queues of those that wait (see ``sweep.py``), and from the
    records of tasks that run yet. Every method raises RegistryUnavailable while Redis is away.
    """

    def __init__(self, store: Store, records: Records) -> None:
        self._store = store
        self._records = records
        self._tenants = store.key("{.all}", "depending")

    def attend(self, tenant: str) -> bool:
        """Count a tenant among those that use dependencies, for a day; True if it was not there yet."""

        def note(redis: Client) -> bool:
            now = time.time()
            with redis.pipeline() as pipe:
                pipe.zremrangebyscore(self._tenants, "-inf", now - DAY)
                pipe.zadd(self._tenants, {tenant: now})
                return bool(pipe.execute()[1])

        return self._store.call(note)

    def tenants(self) -> list[str]:
        """Return the tenants that use dependencies."""
        found: list[str] = self._store.call(
            lambda redis: redis.zrangebyscore(self._tenants, time.time() - DAY, "+inf")
        )
        return found

    def know(self, worker: str, tenant: str) -> None:
        """Note that a worker knows that a tenant uses dependencies."""

        def note(redis: Client) -> None:
            with redis.pipeline(transaction=False) as pipe:
                pipe.sadd(self._workers(tenant), worker)
                pipe.expire(self._workers(tenant), int(DAY))
                pipe.execute()

        self._store.call(note)

    def known_to(self, tenant: str) -> set[str]:
        """Return the workers that know that a tenant uses dependencies."""
        found: set[str] = self._store.call(lambda redis: redis.smembers(self._workers(tenant)))
        return found

    def mark(self, tenant: str, waits: Sequence[tuple[Collection[str], str]]) -> None:
        """Note that ends of tasks matter: of the parents of each who waits, and of the one in whose queue it is."""

        def note(redis: Client) -> int:
            now = time.time()
            with redis.pipeline() as pipe:
                for parents, at in waits:
                    for parent in set(parents) - {at}:
                        pipe.sadd(self._elsewhere(tenant, parent), at)
                        pipe.expire(self._elsewhere(tenant, parent), _KEPT)
                    pipe.zadd(self._awaited(tenant), dict.fromkeys([*parents, at], now))
                pipe.sadd(self._waiting(tenant), *{at for _, at in waits})
                pipe.zcard(self._awaited(tenant))
                for key in (self._awaited(tenant), self._waiting(tenant), self._ends(tenant)):
                    pipe.expire(key, _KEPT)
                return int(pipe.execute()[-4])

        if (too_many := self._store.call(note) - _MOST) > 0:
            self._store.call(lambda redis: self._forget_oldest(redis, tenant, too_many))

    def waiting(self, tenant: str) -> list[str]:
        """Return the tasks in whose queues somebody of a tenant waits, as far as is known."""
        found: set[str] = self._store.call(lambda redis: redis.smembers(self._waiting(tenant)))
        return sorted(found)

    def released(self, tenant: str, parent: str) -> None:
        """Note that nobody waits any more in a task's queue."""
        self._store.call(lambda redis: redis.srem(self._waiting(tenant), parent))

    def ended(self, tenant: str, ends: Mapping[str, Stored]) -> list[str]:
        """Note how tasks have ended, and return those in whose queues somebody waits for that.

        Who waits for several tasks is in the queue of one of them. It has to wait for that one if another succeeds,
        but not if another has failed.
        """
        ids = list(ends)

        def note(redis: Client) -> list[str]:
            marked = redis.zmscore(self._awaited(tenant), ids)
            mine = [task_id for task_id, at in zip(ids, marked, strict=True) if at is not None]
            if mine:
                redis.hset(self._ends(tenant), mapping={task_id: ends[task_id] for task_id in mine})
                redis.expire(self._ends(tenant), _KEPT)
            failed = [self._elsewhere(tenant, each) for each in mine if ends[each] != "SUCCESS"]
            return [*mine, *sorted(redis.sunion(failed) - set(mine) if failed else ())]

        return self._store.call(note) if ids else []

    def standings(self, tenant: str, task_ids: Sequence[str]) -> dict[str, Stored | None]:
        """Return the states of a tenant's tasks; None: nobody remembers it, or it is another tenant's."""
        records = self._records.of(tenant, task_ids)
        states: dict[str, Stored | None] = {
            task_id: None if record is None else record.stored
            for task_id, record in zip(task_ids, records, strict=True)
        }
        # Records are kept for a while only, and of the latest tasks.
        if lost := [task_id for task_id, state in states.items() if state is None]:
            ends = self._store.call(lambda redis: redis.hmget(self._ends(tenant), lost))
            states |= cast("dict[str, Stored | None]", dict(zip(lost, ends, strict=True)))
        return states

    def _forget_oldest(self, redis: Client, tenant: str, count: int) -> None:
        oldest = [task_id for task_id, _ in redis.zpopmin(self._awaited(tenant), count)]
        if oldest:
            redis.hdel(self._ends(tenant), *oldest)

    def _workers(self, tenant: str) -> str:
        return self._store.tenant_key(tenant, "awaited", "workers")

    def _awaited(self, tenant: str) -> str:
        return self._store.tenant_key(tenant, "awaited")

    def _elsewhere(self, tenant: str, parent: str) -> str:
        return self._store.tenant_key(tenant, "awaited", "from", parent)

    def _waiting(self, tenant: str) -> str:
        return self._store.tenant_key(tenant, "awaited", "here")

    def _ends(self, tenant: str) -> str:
        return self._store.tenant_key(tenant, "awaited", "ends")
