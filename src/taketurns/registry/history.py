"""What is remembered of a tenant's past: since when it is known, and how its tasks have ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.store import Client, Store


class Ended(NamedTuple):
    """How many tasks have ended."""

    completed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered of one tenant.

    Attributes:
        completed: tasks that ended well.
        failed: tasks that became dead letters; one that is replayed may end again.
        created_at: when it was first heard of, in seconds by Redis' clock; 0 if that is not known.
    """

    completed: int = 0
    failed: int = 0
    created_at: float = 0.0


class History:
    """Keeps the past of tenants in Redis, until they are forgotten. Thread-safe.

    Workers count by themselves and tell once a second. What a worker has not told is lost if it is killed, and what
    it told while Redis was going away may count twice; so these are statistics, and no accounts.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.created = store.key("{.all}", "created")
        """The hash of when each tenant was first heard of, which ``touch.lua`` writes."""
        self._ended = [store.key("{.all}", "completed"), store.key("{.all}", "failed")]
        self._add = store.script(__package__, "history.lua")

    def add(self, ended: Mapping[str, Ended]) -> None:
        """Add how many tasks have ended, by tenant, in one call.

        Raises:
            RegistryUnavailable: Redis is away; they may have been added.
        """
        if ended:
            self._add(self._ended, [json.dumps(ended)])

    def of(self, tenant: str) -> Past:
        """Return the past of one tenant.

        Raises:
            RegistryUnavailable: Redis is away.
        """

        def look(redis: Client) -> list[str | None]:
            with redis.pipeline() as pipe:
                for key in (*self._ended, self.created):
                    pipe.hget(key, tenant)
                found: list[str | None] = pipe.execute()
                return found

        return _past(*self._store.call(look))

    def all(self) -> dict[str, Past]:
        """Return the past of every tenant of which there is any.

        Raises:
            RegistryUnavailable: Redis is away.
        """

        def look(redis: Client) -> list[dict[str, str]]:
            with redis.pipeline() as pipe:
                for key in (*self._ended, self.created):
                    pipe.hgetall(key)
                found: list[dict[str, str]] = pipe.execute()
                return found

        known = self._store.call(look)
        tenants = set().union(*known)
        return {tenant: _past(*(each.get(tenant) for each in known)) for tenant in tenants}

    def forget(self, tenant: str) -> None:
        """Forget a tenant's past.

        Raises:
            RegistryUnavailable: Redis is away.
        """

        def remove(redis: Client) -> None:
            with redis.pipeline() as pipe:
                for key in (*self._ended, self.created):
                    pipe.hdel(key, tenant)
                pipe.execute()

        self._store.call(remove)


def _past(completed: str | None, failed: str | None, created: str | None) -> Past:
    return Past(int(completed or 0), int(failed or 0), float(created or 0))
