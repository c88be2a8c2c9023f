"""The limiter: whether a task may start now, decided in Redis for all workers at once."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

from taketurns.errors import RegistryUnavailable
from taketurns.limits.put_offs import CONCURRENCY_POLL, PutOffs
from taketurns.store import redis_now

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from taketurns.limits.rate import RateLimit
    from taketurns.settings import LimiterSettings
    from taketurns.store import Client, Store

Reason = Literal["tenant_rate", "task_rate", "priority_rate", "concurrency"]

_TOGETHER: Final = 1000
"""Tenants that one script is asked about: it keeps Redis for 2 ms."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What limits one kind of task of one tenant; false when nothing does.

    Attributes:
        tenant_rate: the rate of all of the tenant's tasks together.
        task_rate: the rate of the tenant's tasks of this name.
        max_concurrency: how many of the tenant's tasks may run at once.
        priority_rate: the rate of the tenant's tasks of this priority.
        priority: the name of this priority; needed with a ``priority_rate`` only.
        burst_when_idle: whether ``max_concurrency`` holds only while another tenant waits.
    """

    tenant_rate: RateLimit | None = None
    task_rate: RateLimit | None = None
    max_concurrency: int | None = None
    priority_rate: RateLimit | None = None
    priority: str = ""
    burst_when_idle: bool = False

    def __bool__(self) -> bool:
        return self.max_concurrency is not None or any(True for _ in self.rates())

    def rates(self) -> Iterator[tuple[Reason, RateLimit]]:
        """Give the rates that there are, each with the reason that it is for a refusal."""
        named: tuple[tuple[Reason, RateLimit | None], ...] = (
            ("tenant_rate", self.tenant_rate),
            ("task_rate", self.task_rate),
            ("priority_rate", self.priority_rate),
        )
        return ((reason, rate) for reason, rate in named if rate is not None)


@dataclass(frozen=True, slots=True)
class Admission:
    """The limiter's decision about one start.

    Attributes:
        admitted: the task may start, and was charged for.
        retry_after: seconds until it may succeed; 0 if admitted.
        reason: which limit it waits longest for, or if admitted the next one; None for none, or if Redis is away.
        next_after: if admitted, seconds until the same kind of task could be admitted next; 0 is at once.
        decided_at: Redis' time of the decision, in seconds; 0 if Redis did not decide.
    """

    admitted: bool
    retry_after: float = 0.0
    reason: Reason | None = None
    next_after: float = 0.0
    decided_at: float = 0.0


@dataclass(frozen=True, slots=True)
class RateStatus:
    """How one rate stands.

    Attributes:
        scope: what the rate is for: ``tenant``, the name of a task, or such as ``priority high``.
        limit: the rate, as text.
        tokens: how many starts it would admit now; a fraction tells how far the next one has come.
        capacity: the most tokens that can be there, so the burst.
        refill_per_second: tokens that come in a second.
        next_token_in: seconds until a start is admitted; 0 if one would be now.
    """

    scope: str
    limit: str
    tokens: float
    capacity: int
    refill_per_second: float
    next_token_in: float


class Limiter:
    """Keeps the rates and the concurrency of tenants. Thread-safe, and safe after a fork.

    Every decision is one Lua script in Redis, by Redis' clock; ``gcra.lua`` tells the algorithm. While Redis is
    away, ``settings.when_redis_is_away`` decides: ``open`` admits everything, ``closed`` nothing that has a
    limit. Only [status][] raises an error then.

    A decision whose answer was lost has been charged all the same: a limit is then used less than it could
    be, never more.
    """

    def __init__(self, store: Store, settings: LimiterSettings) -> None:
        self._store = store
        self._open = settings.when_redis_is_away == "open"
        self._lease = settings.lease
        self.put_offs = PutOffs(store)
        """For how long refused tasks wait that are in no queue of their tenant's."""
        self._admit = store.script(__package__, "gcra.lua", "admit.lua")
        self._claim = store.script(__package__, "gcra.lua", "claim.lua")
        self._status = store.script(__package__, "gcra.lua", "status.lua")

    def admit(self, tenant: str, task: str, limits: Limits, *, lease: str, owner: str = "") -> Admission:
        """Decide whether a task may start now, and charge it to all of its limits if so. All or nothing.

        A refused task is not charged, and may ask again after ``retry_after``. With a ``max_concurrency`` an
        admitted one holds a lease: [release][] it when the task has ended, and [renew][] it until then.

        Args:
            tenant: the tenant.
            task: the name of the task.
            limits: its limits as they are now; others than the last time apply at once.
            lease: an id of this start, such as the task's id. Admitting it again while it runs takes no
                second place of the concurrency (but does take tokens).
            owner: whose claim led to this message. An admission uses up its owner's claim, or else the one
                that would end first. A refusal leaves it: ask again in time, or [unclaim][].
        """
        if not limits:
            return Admission(admitted=True)
        arguments = (_most(limits), _us(CONCURRENCY_POLL), owner, lease, _us(self._lease), *_rates(limits))
        try:
            admitted, wait, reason, following, now = self._admit(self._keys(tenant, task, limits), arguments)
        except RegistryUnavailable:
            return Admission(self._open, 0.0 if self._open else self._store.retry_after)
        return Admission(bool(admitted), wait / 1e6, _reason(limits, reason), following / 1e6, now / 1e6)

    def claim(
        self, tenant: str, task: str, limits: Limits, *, owner: str, lead: float = 0.0, ttl: float
    ) -> float:
        """Ask to be the one who fetches a throttled tenant's next message. Spends no token.

        There are never more claims than tokens: one for a smooth rate, and of a burst one for each token that
        is there. A granted claim ends when an admission uses it up, with [unclaim][], or after ``ttl``.

        Args:
            tenant: the tenant.
            task: the name of the task that was refused last.
            limits: its limits as they are now.
            owner: who asks; asking again renews a claim, and a refusal ends it.
            lead: seconds before the token's time at which the claim is granted, for the way of the message.
            ttl: seconds after which the claim ends by itself.

        Returns:
            0 if granted; else the seconds after which to ask again.
        """
        if not limits:
            return 0.0
        arguments = (_most(limits), _us(CONCURRENCY_POLL), owner, _us(lead), _us(ttl), *_rates(limits))
        try:
            wait: int = self._claim(self._keys(tenant, task, limits), arguments)
        except RegistryUnavailable:
            return 0.0 if self._open else self._store.retry_after
        return wait / 1e6

    def unclaim(self, tenant: str, owner: str) -> None:
        """Give a claim up: there was no message, or it was given back. May be repeated."""
        self._quietly_remove(self._store.tenant_key(tenant, "claims"), owner)

    def release(self, tenant: str, lease: str) -> None:
        """End the lease of a task that has ended. May be repeated.

        While Redis is away nothing is done, and the lease ends by itself.
        """
        self._quietly_remove(self._store.tenant_key(tenant, "leases"), lease)

    def running(self, tenant: str) -> set[str]:
        """Return the tenant's tasks that hold a lease, which is those since it has a ``max_concurrency``.

        Raises:
            RegistryUnavailable: Redis is away.
        """

        def read(redis: Client) -> set[str]:
            key = self._store.tenant_key(tenant, "leases")
            return set(cast("list[str]", redis.zrangebyscore(key, f"({_us(redis_now(redis))}", "+inf")))

        return self._store.call(read)

    def hold(self, tenant: str, leases: Collection[str]) -> None:
        """Count tasks that run already, as if they had been admitted: more than ``max_concurrency`` too.

        Call it where [release][] is called, not beside it. While Redis is away nothing is done.
        """
        with contextlib.suppress(RegistryUnavailable):
            self._store.call(lambda redis: self._renew(redis, {tenant: leases}, only_held=False))

    def renew(self, tenant_leases: Mapping[str, Collection[str]]) -> None:
        """Let leases of running tasks last for ``settings.lease`` seconds from now.

        One that was released in the meantime does not come back, so this may run beside [release][]. Nor does
        one that Redis has lost: until its task ends, one more than ``max_concurrency`` may run.
        """
        lasting = {tenant: leases for tenant, leases in tenant_leases.items() if leases}
        if lasting:
            with contextlib.suppress(RegistryUnavailable):
                self._store.call(lambda redis: self._renew(redis, lasting))

    def _renew(
        self, redis: Client, tenant_leases: Mapping[str, Collection[str]], *, only_held: bool = True
    ) -> None:
        ends = _us(redis_now(redis) + self._lease)
        with redis.pipeline(transaction=False) as pipe:
            for tenant, leases in tenant_leases.items():
                key = self._store.tenant_key(tenant, "leases")
                pipe.zadd(key, dict.fromkeys(leases, ends), xx=only_held)
                pipe.pexpire(key, math.ceil(self._lease * 1000))
            pipe.execute()

    def status(
        self,
        tenant: str,
        tenant_rate: RateLimit | None,
        task_rates: Mapping[str, RateLimit],
        priority_rates: Mapping[str, RateLimit] | None = None,
    ) -> list[RateStatus]:
        """Tell how the tenant's rates stand; nothing is charged.

        Args:
            tenant: the tenant.
            tenant_rate: the rate of all of its tasks together.
            task_rates: those of its tasks of one name, by the name.
            priority_rates: those of its tasks of one priority, by ``low``, ``normal`` or ``high``.

        Raises:
            RegistryUnavailable: Redis is away.
        """
        rates = [("tenant", self._rate_key(tenant, "tenant_rate"), tenant_rate)] if tenant_rate else []
        rates += [
            (name, self._rate_key(tenant, "task_rate", name), rate) for name, rate in task_rates.items()
        ]
        rates += [
            (f"priority {name}", self._rate_key(tenant, "priority_rate", name), rate)
            for name, rate in (priority_rates or {}).items()
        ]
        return self._stand(rates)

    def standing(self, tenant_rates: Mapping[str, RateLimit]) -> dict[str, RateStatus]:
        """Tell how the rates of all of a tenant's tasks together stand, for many tenants; nothing is charged.

        Raises:
            RegistryUnavailable: Redis is away.
        """
        names = list(tenant_rates)
        found: list[RateStatus] = []
        for first in range(0, len(names), _TOGETHER):
            some = names[first : first + _TOGETHER]
            found += self._stand(
                [("tenant", self._rate_key(name, "tenant_rate"), tenant_rates[name]) for name in some]
            )
        return dict(zip(names, found, strict=True))

    def _stand(self, rates: Sequence[tuple[str, str, RateLimit]]) -> list[RateStatus]:
        """Tell how rates stand, each with its scope and its key."""
        if not rates:
            return []
        debts = self._status(
            [key for _, key, _ in rates], [part for *_, rate in rates for part in _rate(rate)]
        )
        return [_status(scope, rate, debt) for (scope, _, rate), debt in zip(rates, debts, strict=True)]

    def _keys(self, tenant: str, task: str, limits: Limits) -> Sequence[str]:
        names = {"task_rate": task, "priority_rate": limits.priority}
        return (
            self._store.tenant_key(tenant, "leases"),
            self._store.tenant_key(tenant, "claims"),
            *(self._rate_key(tenant, reason, names.get(reason)) for reason, _ in limits.rates()),
        )

    def _rate_key(self, tenant: str, reason: Reason, name: str | None = None) -> str:
        # The name comes last, since a task's may hold anything.
        return self._store.tenant_key(tenant, reason, *([] if name is None else [name]))

    def _quietly_remove(self, key: str, member: str) -> None:
        with contextlib.suppress(RegistryUnavailable):
            self._store.call(lambda redis: redis.zrem(key, member))


def _status(scope: str, rate: RateLimit, debt: int) -> RateStatus:
    """Tell tokens from the microseconds by which the next start's time (TAT) is ahead; see gcra.lua."""
    interval = _interval(rate)
    early = (rate.burst - 0.95) * interval
    return RateStatus(
        scope=scope,
        limit=str(rate),
        tokens=min(rate.burst, max(0.0, 1 + (early - debt) / interval)),
        capacity=rate.burst,
        refill_per_second=1 / rate.interval,
        next_token_in=max(0.0, debt - early) / 1e6,
    )


def _rates(limits: Limits) -> list[float]:
    return [part for _, rate in limits.rates() for part in _rate(rate)]


def _rate(rate: RateLimit) -> tuple[float, int]:
    return _interval(rate), rate.burst


def _reason(limits: Limits, number: int) -> Reason | None:
    """Read the script's answer: a rate by its place from 1, -1 for the concurrency, 0 for nothing."""
    reasons: list[Reason | None] = [None, *(reason for reason, _ in limits.rates()), "concurrency"]
    return reasons[number]


def _interval(rate: RateLimit) -> float:
    return rate.period * 1e6 / rate.count


def _most(limits: Limits) -> str | float:
    return "" if limits.max_concurrency is None else limits.max_concurrency


def _us(seconds: float) -> int:
    return math.ceil(seconds * 1e6)
