"""The schedules of all tenants, in Redis."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from taketurns.errors import ScheduleExists, TooManySchedules, UnknownSchedule
from taketurns.schedules.schedule import Schedule
from taketurns.store import redis_now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taketurns.store import Client, Store

T = TypeVar("T")

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 100
"""Tenants whose schedules are read in one call."""


@dataclass(frozen=True, slots=True)
class Due:
    """The schedules that are to be looked at.

    Attributes:
        now: the time.
        schedules: the first of them.
        following: when the next one is to be looked at, beside these; None: there is none.
    """

    now: float
    schedules: Sequence[Schedule]
    following: float | None


class ScheduleBook:
    """Keeps schedules: a hash of each tenant's, by name, and one sorted set that says when to look at which.

    All is changed by transactions that begin anew if somebody else was quicker, so of two who change the same
    schedule the second one sees what the first one did. Thread-safe. Every method raises RegistryUnavailable while
    Redis is away; a change that was interrupted by it may have been made.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looks = store.key("{.all}", "schedules-due")

    def create(self, tenant: str, name: str, make: Callable[[float], Schedule], *, most: int) -> Schedule:
        """Add a schedule.

        Args:
            tenant: the tenant.
            name: the schedule's name.
            make: makes it, when told the time.
            most: how many schedules a tenant may have.

        Raises:
            ScheduleExists: the tenant has one of that name.
            TooManySchedules: it has as many as it may.
        """
        key = self._key(tenant)

        def attempt(pipe: Client) -> Schedule:
            if pipe.hexists(key, name):
                raise ScheduleExists(tenant, name)
            if pipe.hlen(key) >= most:
                raise TooManySchedules(tenant, most)
            schedule = make(redis_now(pipe))
            pipe.multi()
            self._write(pipe, schedule)
            return schedule

        return self._transaction(attempt, key)

    def edit(self, tenant: str, name: str, change: Callable[[Schedule, float], Schedule]) -> Schedule:
        """Change a schedule by a function of it and the time, and return it; the function may be called again.

        Raises:
            UnknownSchedule: there is no such schedule.
        """
        key = self._key(tenant)

        def attempt(pipe: Client) -> Schedule:
            text = pipe.hget(key, name)
            if text is None:
                raise UnknownSchedule(tenant, name)
            after = change(Schedule.from_json(text), redis_now(pipe))
            pipe.multi()
            self._write(pipe, after)
            return after

        return self._transaction(attempt, key)

    def get(self, tenant: str, name: str) -> Schedule:
        """Return a schedule.

        Raises:
            UnknownSchedule: there is none of that name.
        """
        text = self._store.call(lambda redis: redis.hget(self._key(tenant), name))
        if text is None:
            raise UnknownSchedule(tenant, name)
        return Schedule.from_json(text)

    def of_tenant(self, tenant: str) -> list[Schedule]:
        """Return the schedules of a tenant, by their names."""
        texts = self._store.call(lambda redis: redis.hvals(self._key(tenant)))
        return sorted(map(Schedule.from_json, texts), key=lambda each: each.name)

    def all(self) -> list[Schedule]:
        """Return the schedules of all tenants, by tenant and name."""
        members = self._store.call(lambda redis: redis.zrange(self._looks, 0, -1))
        keys = sorted({self._key(_parts(member)[0]) for member in members})
        found: list[Schedule] = []
        for start in range(0, len(keys), _AT_ONCE):
            texts = self._store.call(partial(_all_values, keys=keys[start : start + _AT_ONCE]))
            found += map(Schedule.from_json, texts)
        return sorted(found, key=lambda each: (each.tenant, each.name))

    def count(self) -> int:
        """Return how many schedules there are."""
        return int(self._store.call(lambda redis: redis.zcard(self._looks)))

    def remove(self, tenant: str, name: str) -> bool:
        """Remove a schedule; tells whether there was one."""

        def remove(redis: Client) -> bool:
            with redis.pipeline() as pipe:
                pipe.hdel(self._key(tenant), name)
                pipe.zrem(self._looks, _member(tenant, name))
                return bool(pipe.execute()[0])

        return self._store.call(remove)

    def remove_all(self, tenant: str) -> None:
        """Remove all schedules of a tenant."""
        key = self._key(tenant)

        def attempt(pipe: Client) -> None:
            names = pipe.hkeys(key)
            pipe.multi()
            pipe.delete(key)
            if names:
                pipe.zrem(self._looks, *(_member(tenant, name) for name in names))

        self._transaction(attempt, key)

    def hold(self, tenant: str, seconds: float) -> int:
        """Have nobody look at a tenant's schedules for a while; return how many it has."""
        key = self._key(tenant)

        def attempt(pipe: Client) -> int:
            names = pipe.hkeys(key)
            until = redis_now(pipe) + seconds
            pipe.multi()
            if names:
                pipe.zadd(self._looks, {_member(tenant, name): until for name in names})
            return len(names)

        return self._transaction(attempt, key)

    def release(self, tenant: str) -> None:
        """Have a tenant's schedules looked at when they are due, after [hold][]."""
        key = self._key(tenant)

        def attempt(pipe: Client) -> None:
            held = [Schedule.from_json(text) for text in pipe.hvals(key)]
            pipe.multi()
            for schedule in held:
                self._write(pipe, schedule)

        self._transaction(attempt, key)

    def due(self, most: int) -> Due:
        """Return the schedules that are to be looked at now, those that wait longest first, ``most`` at most."""

        def look(redis: Client) -> tuple[float, list[tuple[str, str | None]], list[tuple[str, float]]]:
            now = redis_now(redis)
            members = redis.zrangebyscore(self._looks, "-inf", now, start=0, num=most)
            with redis.pipeline(transaction=False) as pipe:
                for member in members:
                    tenant, name = _parts(member)
                    pipe.hget(self._key(tenant), name)
                pipe.zrange(self._looks, len(members), len(members), withscores=True)
                *texts, following = pipe.execute()
            return now, list(zip(members, texts, strict=True)), following

        now, found, following = self._store.call(look)
        schedules = [each for member, text in found if (each := _read(member, text)) is not None]
        scores = [score for _, score in following if score < math.inf]
        return Due(now, schedules, scores[0] if scores else None)

    def _key(self, tenant: str) -> str:
        return self._store.key("{.all}", "schedules", tenant)

    def _write(self, pipe: Client, schedule: Schedule) -> None:
        pipe.hset(self._key(schedule.tenant), schedule.name, schedule.to_json())
        pipe.zadd(self._looks, {_member(schedule.tenant, schedule.name): schedule.look_at})

    def _transaction(self, attempt: Callable[[Client], T], key: str) -> T:
        return self._store.call(lambda redis: redis.transaction(attempt, key, value_from_callable=True))


def _all_values(redis: Client, keys: Sequence[str]) -> list[str]:
    with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hvals(key)
        return [text for texts in pipe.execute() for text in texts]


def _member(tenant: str, name: str) -> str:
    return f"{tenant}/{name}"


def _parts(member: str) -> tuple[str, str]:
    tenant, _, name = member.partition("/")  # neither has a slash
    return tenant, name


def _read(member: str, text: str | None) -> Schedule | None:
    """Return a schedule that is due; None: it was removed just now, or nobody can read it."""
    try:
        return None if text is None else Schedule.from_json(text)
    except (ValueError, TypeError, AttributeError) as error:
        logger.error("the schedule %s can't be read, and is left alone: %s", member, error)  # noqa: TRY400
        return None
