"""The locks of tenants: ``turns.lock(tenant, name)``, and those of singleton tasks."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from taketurns.errors import InvalidInput, LockTaken, RegistryUnavailable
from taketurns.locks.fenced import FencedLock
from taketurns.locks.hold import Hold
from taketurns.tenants import validate_tenant
from taketurns.texts import is_encodable

if TYPE_CHECKING:
    from taketurns.store import Client, Store

LONGEST: Final = 86_400.0
"""Seconds for which a hold is renewed at most, unless somebody says otherwise."""

LARGEST: Final = 30 * 86_400.0
"""Seconds that anything of a lock may last."""

_SHORTEST: Final = 0.1
_LONGEST_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class LockName:
    """A lock.

    Attributes:
        tenant: whose it is.
        kind: ``lock``, or ``singleton`` for those that tasks declare.
        name: its name among those of the tenant and kind.
    """

    tenant: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a process needs to go on with a hold that another one has begun.

    Attributes:
        token: the holder's token.
        fence: the fencing token.
    """

    token: str
    fence: int


class Locks:
    """Locks in Redis. Thread-safe, and safe after a fork. Nothing is ever taken for held that Redis did not grant.

    Args:
        store: the Redis client.
        ttl: seconds after which the lock of a holder that died is free again.
    """

    def __init__(self, store: Store, ttl: float) -> None:
        self._store = store
        self.ttl = ttl
        self._unanswered: dict[LockName, str] = {}
        """The tokens with which locks were asked for when Redis went away: it may have granted them."""

    def named(
        self,
        tenant: str,
        name: str,
        *,
        ttl: float | None = None,
        wait: float | None = 0.0,
        longest: float = LONGEST,
    ) -> Hold:
        """Take a lock of a tenant's, which one holder has at a time, on whatever machine: ``with turns.lock(...):``.

        A thread renews it meanwhile. If it is lost all the same, ``with`` ends with LockLost, and ``held`` of what
        it gives tells before; its ``fence`` is a number that is larger than that of each holder before.

        Args:
            tenant: the tenant.
            name: the lock's name, of 1 to 255 characters.
            ttl: seconds after which the lock is free again if this process dies, from 0.1; by default
                ``TAKETURNS_LIMITER_LEASE``.
            wait: seconds to wait for who has it; None is as long as it takes.
            longest: seconds for which it is renewed; a day by default.

        Raises:
            LockTaken: somebody else has it for longer than ``wait``.
            InvalidTenant: the tenant id does not have the accepted form.
            InvalidInput: another argument does not.
            RegistryUnavailable: Redis is away, so nobody can have the lock.
        """
        validate_tenant(tenant)
        if not (isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and is_encodable(name)):
            raise InvalidInput(name, f"text of 1 to {_LONGEST_NAME} characters", field="name")
        if ttl is not None:
            _check_seconds(ttl, _SHORTEST, "ttl")
        if wait is not None:
            _check_seconds(wait, 0, "wait")
        _check_seconds(longest, _SHORTEST, "longest")
        return self.hold(LockName(tenant, "lock", name), ttl=ttl, wait=wait, longest=longest)

    def hold(
        self,
        lock: LockName,
        *,
        ttl: float | None = None,
        wait: float | None = 0.0,
        longest: float = LONGEST,
        holder: str = "",
        ticket: Ticket | None = None,
        quiet: bool = False,
    ) -> Hold:
        """Return a hold of a lock, to be entered at once; its end gives the lock up.

        Args:
            lock: the lock.
            ttl: seconds after which it is free again, should this process die. It is renewed before.
            wait: seconds to wait for somebody else who has it, with a look ten times a second; None is any time.
            longest: seconds for which it is renewed.
            holder: a name of who has it then, for [holder][].
            ticket: that of a hold that another process has begun; if that was lost, a new one is tried.
            quiet: whether a loss is only logged at the end, and no error.

        Raises:
            LockTaken: somebody else has it for longer.
            RegistryUnavailable: Redis is away, so nobody can tell who has it.
        """
        lasting = self.ttl if ttl is None else ttl

        def take(redis: Client) -> FencedLock | None:
            found = self._lock(redis, lock, lasting)
            if ticket is not None:
                found.adopt(ticket.token, ticket.fence)
                if found.renew():
                    return found
            return found if found.acquire(token=_token(holder), blocking_timeout=wait) else None

        fenced = self._store.call(take)
        if fenced is None:
            raise LockTaken(lock.tenant, lock.name)
        return Hold(self._store, fenced, tenant=lock.tenant, name=lock.name, longest=longest, quiet=quiet)

    def take(self, lock: LockName, holder: str = "") -> Ticket | None:
        """Take a lock for another process, which is to go on with it in time; None: somebody has it.

        Args:
            lock: the lock.
            holder: a name of who has it then, for [holder][].

        Raises:
            RegistryUnavailable: Redis is away, so nobody can tell who has it.
        """
        token = _token(holder)
        unanswered = self._unanswered.get(lock)

        def take(redis: Client) -> int:
            found = self._lock(redis, lock, self.ttl)
            if unanswered is not None:  # or nobody would have the lock until that hold expires
                found.adopt(unanswered, 0)
                found.give_up()
                self._unanswered.pop(lock, None)
            try:
                found.acquire(token=token, blocking=False)
            except RedisError:
                self._unanswered[lock] = token
                raise
            return found.fence

        fence = self._store.call(take)
        return Ticket(token, fence) if fence else None

    def holder(self, lock: LockName) -> str | None:
        """Return the name that whoever has the lock has said; None: nobody has it.

        Raises:
            RegistryUnavailable: Redis is away.
        """
        token = self.token(lock)
        return None if token is None else token.rpartition("/")[0]

    def token(self, lock: LockName) -> str | None:
        """Return the token of who has the lock, which is another one for each hold; None: nobody has it.

        Raises:
            RegistryUnavailable: Redis is away.
        """
        token: str | None = self._store.call(lambda redis: redis.get(self._key(lock)))
        return token

    def give_up(self, lock: LockName, ticket: Ticket) -> None:
        """End the hold of a ticket, whoever goes on with it; nothing happens if it has ended, or Redis is away."""

        def end(redis: Client) -> None:
            found = self._lock(redis, lock, self.ttl)
            found.adopt(ticket.token, ticket.fence)
            found.give_up()

        with suppress(RegistryUnavailable):
            self._store.call(end)

    def _lock(self, redis: Client, lock: LockName, ttl: float) -> FencedLock:
        return FencedLock(redis, self._key(lock), self._store.tenant_key(lock.tenant, "fence"), ttl)

    def _key(self, lock: LockName) -> str:
        # The name comes last, since it may hold anything.
        return self._store.tenant_key(lock.tenant, lock.kind, lock.name)


def _token(holder: str) -> str:
    return f"{holder}/{uuid.uuid4().hex}"


def _check_seconds(value: object, least: float, field: str) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= LARGEST:
        raise InvalidInput(value, f"a number of seconds from {least:g} to {LARGEST:g}", field=field)
