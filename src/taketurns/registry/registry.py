"""The registry: tenant settings, activity, draining marks, live workers."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from taketurns.errors import TenantExists
from taketurns.registry.api_keys import ApiKeys
from taketurns.registry.cancellations import Cancellations
from taketurns.registry.history import History
from taketurns.registry.sign_of_life import SignOfLife
from taketurns.registry.starts import Starts
from taketurns.registry.tags import checked_tags, has_tags
from taketurns.registry.tenant_settings import TenantSettings
from taketurns.registry.usage import Usage
from taketurns.store import redis_now
from taketurns.tenants import queue_name, validate_tenant

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from taketurns.registry.history import Ended
    from taketurns.store import Client, Store

LOST_FOR: Final = 600.0
"""Seconds for which a worker is known that went without a farewell."""


class Registry:
    """What all processes of an installation know together, in Redis. Thread-safe, and safe after a fork.

    Every method raises RegistryUnavailable while Redis is away; a change that was interrupted by it may have
    been made. Times are seconds by Redis' clock. No task is lost with Redis: RabbitMQ has them all.

    Args:
        store: keeps it.
        changed: called after each change of settings, to tell the workers.
    """

    def __init__(self, store: Store, *, changed: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._changed = changed
        # A tenant id begins with a letter or digit, so no tenant has keys in `{.all}`.
        self._settings = store.key("{.all}", "settings")
        self._version = store.key("{.all}", "version")
        self._activity = store.key("{.all}", "activity")
        self._draining = store.key("{.all}", "draining")
        self._workers = store.key("{.all}", "workers")
        self._heartbeats = store.key("{.all}", "heartbeats")
        self.usage = Usage(store)
        """What tenants had on all workers together."""
        self.cancellations = Cancellations(store)
        """Which tasks are not to run any more."""
        self.starts = Starts(store)
        """How often tasks were started whose worker died."""
        self.history = History(store)
        """Since when tenants are known, and how their tasks have ended."""
        self.api_keys = ApiKeys(store)
        """The API keys, which speak for tenants."""
        self._touch = store.script(__package__, "touch.lua")
        self._lead = store.script(__package__, "lead.lua")

    # Settings

    def get(self, tenant: str) -> TenantSettings:
        """Return the tenant's settings; the defaults if nothing is set."""
        stored = self._store.call(lambda redis: redis.hget(self._settings, tenant))
        return TenantSettings() if stored is None else TenantSettings.from_json(stored)

    def exists(self, tenant: str) -> bool:
        """Tell whether anything is known of the tenant: settings of its own, or activity."""

        def look(redis: Client) -> bool:
            with redis.pipeline() as pipe:
                has_settings, active = (
                    pipe.hexists(self._settings, tenant).zscore(self._activity, tenant).execute()
                )
            return has_settings or active is not None

        return self._store.call(look)

    def create(self, tenant: str, **settings: object) -> TenantSettings:
        """Give a tenant of whom nothing is known its first settings, and return them all.

        Raises:
            TenantExists: it has settings already, or it has been active.
            InvalidInput: a value does not have its accepted form; see [update][].
            TypeError: there is no such field.
        """

        def begin(before: TenantSettings) -> TenantSettings:
            return before.changed(**settings)

        if self.exists(validate_tenant(tenant)):
            raise TenantExists(tenant)
        return self._edit(tenant, begin, new=True)

    def update(self, tenant: str, **changes: object) -> TenantSettings:
        """Change some of a tenant's settings and return them all. Applies to its backlog at once.

        "At once" is when the workers have read it: they are told, which takes milliseconds. A task that is submitted
        in that time, or one that a worker does not hear of, may still start by the settings before, within a second.

        Args:
            tenant: the tenant; it need not be known before.
            **changes: fields of TenantSettings; None takes a limit away. ``tags`` replaces all tags; see [tag][]
                for some.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
            InvalidRate: ``rate_limit``, or one of ``task_rate_limits`` or ``priority_rate_limits``, is not a rate.
            InvalidWeight: ``weight`` is not a number in its range.
            InvalidInput: another value does not have its accepted form.
            TypeError: there is no such field.
        """
        return self.edit(tenant, lambda settings: settings.changed(**changes))

    def tag(self, tenant: str, changes: Mapping[str, str | None]) -> TenantSettings:
        """Set some of a tenant's tags, or remove those whose value is None, and return all its settings.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
            InvalidInput: a key or value does not have its accepted form, or there would be too many tags.
        """
        return self.edit(tenant, lambda settings: settings.tagged(changes))

    def edit(self, tenant: str, change: Callable[[TenantSettings], TenantSettings]) -> TenantSettings:
        """Change a tenant's settings by a function of the present ones, and return the new ones.

        Two changes at the same time are both made, one after the other.

        Args:
            tenant: the tenant; it need not be known before.
            change: makes the new settings of the old ones. It is called more than once, at first with the defaults,
                and what it raises ends the change.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
        """
        return self._edit(tenant, change, new=False)

    def _edit(
        self, tenant: str, change: Callable[[TenantSettings], TenantSettings], *, new: bool
    ) -> TenantSettings:
        validate_tenant(tenant)
        change(TenantSettings())  # bad values are told even while Redis is away

        def attempt(pipe: Client) -> TenantSettings:
            stored = pipe.hget(self._settings, tenant)
            if stored and new:
                raise TenantExists(tenant)
            seconds, microseconds = pipe.time()
            before = (
                TenantSettings.from_json(stored)
                if stored
                else TenantSettings(created_at=seconds + microseconds / 1e6)
            )
            after = change(before)
            pipe.multi()
            pipe.hset(self._settings, tenant, after.to_json())
            self._bump(pipe)
            return after

        settings: TenantSettings = self._store.call(
            lambda redis: redis.transaction(attempt, self._settings, value_from_callable=True)
        )
        self._changed()
        return settings

    def all(self, *, tags: Mapping[str, str] | None = None) -> dict[str, TenantSettings]:
        """Return the settings of every tenant that has its own.

        Args:
            tags: leave out the tenants that have not all of these tags with these values.

        Raises:
            InvalidInput: the tags are no mapping of keys to values that tags can have.
            RegistryUnavailable: Redis is away.
        """
        wanted = checked_tags(tags or {})
        stored = self._store.call(lambda redis: redis.hgetall(self._settings))
        known = ((tenant, TenantSettings.from_json(text)) for tenant, text in stored.items())
        return {tenant: settings for tenant, settings in known if has_tags(settings.tags, wanted)}

    def forget(self, tenant: str) -> None:
        """Remove a tenant's settings; the defaults hold for it again. Its activity stays."""

        def remove(redis: Client) -> None:
            with redis.pipeline() as pipe:
                pipe.hdel(self._settings, tenant)
                self._bump(pipe)
                pipe.execute()

        self._store.call(remove)
        self._changed()

    def version(self) -> int:
        """Return a number that grows with every change of settings or draining marks; 0 if there was none.

        Compare it for *another* value, not for a larger one: it is 0 after Redis has lost its data. That a
        draining mark expires does not change it.
        """
        return int(self._store.call(lambda redis: redis.get(self._version)) or 0)

    def _bump(self, pipe: Client) -> None:
        # Starts at the time of day, so that it does not reach an old value again after Redis lost its data.
        pipe.set(self._version, time.time_ns() // 1_000_000, nx=True)
        pipe.incr(self._version)

    # Activity

    def touch(self, tenant: str, *, until: float | None = None) -> bool:
        """Record that the tenant is active: now, or for a task that is due later, until then.

        Returns:
            True if no activity of the tenant was recorded; its queue may have been removed since.
        """
        keys = [self._activity, self.history.created]
        return bool(self._touch(keys, ["" if until is None else until, tenant]))

    def worked(self, tenants: Collection[str], ended: Mapping[str, Ended]) -> None:
        """Record that a worker has run tasks of these tenants until now, and how many more have ended there."""
        self._touch([self._activity, self.history.created], ["", *tenants])
        self.history.add(ended)

    def activity(self) -> dict[str, float]:
        """Return when each tenant was last active; a time to come if a task is due then."""
        return dict(self._store.call(lambda redis: redis.zrange(self._activity, 0, -1, withscores=True)))

    def due_until(self, tenant: str) -> float | None:
        """Return until when delayed tasks of the tenant are due, the latest one's time; None: none is known."""

        def look(redis: Client) -> float | None:
            last = redis.zscore(self._activity, tenant)
            return last if last is not None and last > redis_now(redis) else None

        return self._store.call(look)

    def clear_activity(self, tenant: str) -> None:
        """Forget a tenant's activity and usage; its next [touch][] is told that it was unknown.

        Its past goes too unless it has settings, which stay: else that of everybody ever would fill Redis.
        """
        self.usage.forget(queue_name(tenant))
        if not self._store.call(lambda redis: redis.hexists(self._settings, tenant)):
            self.history.forget(tenant)
        self._store.call(lambda redis: redis.zrem(self._activity, tenant))

    # Draining marks

    def mark_draining(self, tenants: Collection[str], seconds: float) -> None:
        """Mark tenants as draining: no worker subscribes to them. A mark ends by itself after ``seconds``."""
        self._set_expiring(self._draining, tenants, seconds, bump=True)

    def unmark_draining(self, tenants: Collection[str]) -> None:
        """Take the marks off again."""

        def unmark(redis: Client) -> None:
            with redis.pipeline() as pipe:
                pipe.zrem(self._draining, *tenants)
                self._bump(pipe)
                pipe.execute()

        if tenants:
            self._store.call(unmark)

    def draining(self) -> set[str]:
        """Return the tenants that are marked as draining."""
        return set(self._unexpired(self._draining))

    # Workers

    def worker_alive(self, name: str, ttl: float) -> None:
        """Record that a worker that serves tenants lives; it counts as gone after ``ttl`` seconds."""
        self._set_expiring(self._workers, [name], ttl, bump=False, kept=LOST_FOR, since=self._heartbeats)

    def worker_gone(self, name: str) -> None:
        """Record that a worker no longer serves tenants."""

        def remove(redis: Client) -> None:
            with redis.pipeline() as pipe:
                pipe.zrem(self._workers, name)
                pipe.zrem(self._heartbeats, name)
                pipe.execute()

        self._store.call(remove)

    def signs_of_life(self) -> dict[str, SignOfLife]:
        """Return what is known of all workers: the live ones, and those that were lost in the last ten minutes."""

        def look(redis: Client) -> dict[str, SignOfLife]:
            now = redis_now(redis)
            with redis.pipeline() as pipe:
                pipe.zrangebyscore(self._workers, f"({now - LOST_FOR!r}", "+inf", withscores=True)
                pipe.zrange(self._heartbeats, 0, -1, withscores=True)
                known, heard = pipe.execute()
            last = dict(heard)
            return {
                name: SignOfLife(until > now, max(0.0, now - last[name]) if name in last else None)
                for name, until in known
            }

        return self._store.call(look)

    def workers(self) -> list[str]:
        """Return the live workers that serve tenants, by their Celery names, sorted."""
        return sorted(self._unexpired(self._workers))

    def lost_workers(self) -> list[str]:
        """Return the workers that went without a farewell in the last ten minutes and did not come back, sorted."""

        def look(redis: Client) -> list[str]:
            now = redis_now(redis)
            return redis.zrangebyscore(self._workers, f"({now - LOST_FOR!r}", now)

        return sorted(self._store.call(look))

    # A role that one process has

    def lead(self, role: str, owner: str, ttl: float) -> bool:
        """Take a role for ``ttl`` seconds, or keep it for as long again. Tells whether the owner has it now.

        A leader that stalls for longer than ``ttl`` may be replaced and not know it, so what it does must be
        safe even if another does it too.
        """
        return bool(self._lead([self._store.key("lead", role)], [owner, max(1, math.ceil(ttl * 1000))]))

    def leader(self, role: str) -> str | None:
        """Return who has a role, or None if nobody has it."""
        owner = self._store.call(lambda redis: redis.get(self._store.key("lead", role)))
        return None if owner is None else str(owner)

    def resign(self, role: str, owner: str) -> None:
        """Give a role up, if the owner has it."""
        self._lead([self._store.key("lead", role)], [owner, 0])

    # Sorted sets of names, each with the second at which it expires

    def _set_expiring(
        self,
        key: str,
        names: Collection[str],
        seconds: float,
        *,
        bump: bool,
        kept: float = 0.0,
        since: str = "",
    ) -> None:
        """Set them; each stays for ``kept`` seconds more, and in ``since`` it is noted when it was set."""

        def change(redis: Client) -> None:
            now = redis_now(redis)
            with redis.pipeline() as pipe:
                pipe.zremrangebyscore(key, "-inf", now - kept)
                pipe.zadd(key, dict.fromkeys(names, now + seconds))
                if since:
                    pipe.zremrangebyscore(since, "-inf", now - 2 * kept)
                    pipe.zadd(since, dict.fromkeys(names, now))
                if bump:
                    self._bump(pipe)
                pipe.execute()

        if names:
            self._store.call(change)

    def _unexpired(self, key: str) -> list[str]:
        def look(redis: Client) -> list[str]:
            return redis.zrangebyscore(key, f"({redis_now(redis)!r}", "+inf")

        return self._store.call(look)
