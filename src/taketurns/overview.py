"""All tenants at one moment, the busiest first, beside how the system is doing."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from taketurns.answers import gather
from taketurns.errors import RegistryUnavailable
from taketurns.limits.rate import parse_rate
from taketurns.registry import TenantSettings
from taketurns.registry.history import Past
from taketurns.roster import known
from taketurns.status import SystemStatus, summary
from taketurns.tenant_stats import counted, running_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taketurns.answers import Answers
    from taketurns.extension import TakeTurns

State = Literal["removing", "paused", "throttled", "running", "no worker", "waiting", "idle", "unknown"]
Order = Literal["busy", "waiting", "running", "done", "failed", "name"]
T = TypeVar("T")

PATIENCE: Final = 5.0
"""Seconds that the management API has: a look that takes longer is none at this moment."""

_KEYS: Final[Mapping[Order, Callable[[TenantStanding], int]]] = {
    "busy": lambda each: (each.waiting or 0) + (each.running or 0),
    "waiting": lambda each: each.waiting or 0,
    "running": lambda each: each.running or 0,
    "done": lambda each: each.completed or 0,
    "failed": lambda each: each.failed or 0,
    "name": lambda _: 0,
}
ORDERS: Final = tuple(_KEYS)


@dataclass(frozen=True, slots=True)
class TenantStanding:
    """How a tenant stands. None: what tells it is away.

    Attributes:
        tenant: the tenant.
        state: ``removing``; ``paused``; ``throttled``: tasks wait for a limit; ``running``; ``no worker``: tasks
            wait, and no worker lives; ``waiting``: for a turn; ``idle``; ``unknown``.
        waiting: tasks that are to run as soon as may be.
        running: tasks that run.
        completed: tasks that have ended well.
        failed: tasks that have become dead letters.
        rate_limit: the rate of all its tasks together, its own or the default; None also if it has none.
        tokens: how many starts that rate would admit now; None also without a rate.
        next_token_in: seconds until it admits a start; None also without a rate.
    """

    tenant: str
    state: State
    waiting: int | None
    running: int | None
    completed: int | None
    failed: int | None
    rate_limit: str | None
    tokens: float | None = None
    next_token_in: float | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """All tenants at one moment.

    Attributes:
        at: when it was looked, in seconds since 1970.
        system: how the system is doing; the oldest wait is not asked for.
        total: how many tenants have a queue or settings, by what could be asked; None: nothing could.
        tenants: those of them that were asked for.
    """

    at: float
    system: SystemStatus
    total: int | None
    tenants: list[TenantStanding]


class Overseer:
    """Looks at everything, again and again. For one thread."""

    def __init__(self, turns: TakeTurns) -> None:
        """Prepare; nothing is opened yet."""
        self._turns = turns
        self._management = turns.open_management(PATIENCE)

    def look(self, *, order: Order = "busy", limit: int | None = None) -> Overview:
        """Return how all tenants stand; never fails, since what is away is told.

        Args:
            order: what comes first: the largest number, or the names in their order.
            limit: how many tenants to tell at most; None is all.
        """
        at = time.time()
        answers = gather(self._turns, self._management, stamps=False)
        past = self._told(self._turns.registry.history.all) or {}
        draining = self._told(self._turns.registry.draining) or set()
        tenants = self._tenants(answers, past, draining)
        tenants.sort(key=lambda each: (-_KEYS[order](each), each.tenant))
        nothing = answers.known is None and answers.queues is None
        return Overview(
            at=at,
            system=summary(answers),
            total=None if nothing else len(tenants),
            tenants=self._with_tokens(tenants[:limit]),
        )

    def close(self) -> None:
        """Close its connection; the next look opens a new one."""
        self._management.close()

    def _tenants(
        self, answers: Answers, past: Mapping[str, Past], draining: set[str]
    ) -> list[TenantStanding]:
        queues = answers.queues.tenants if answers.queues else {}
        settings = answers.known.settings if answers.known else {}
        workers = answers.known.workers if answers.known else []
        running = running_of(workers, answers.workers)
        throttled = {name for each in answers.workers.values() for name in each["throttled"]["names"]}
        default = self._turns.settings.limiter.default_rate_limit
        standing = []
        for name in settings.keys() | queues.keys():
            own = settings.get(name, TenantSettings())
            found = known(
                name, own, past.get(name, Past()), queues.get(name), is_told=answers.queues is not None
            )
            stats = counted(found, running)
            state = _state(
                stats.waiting,
                stats.running,
                paused=own.paused,
                removing=name in draining,
                throttled=name in throttled,
                served=bool(workers) or answers.known is None,
            )
            standing.append(
                TenantStanding(
                    tenant=name,
                    state=state,
                    waiting=stats.waiting,
                    running=stats.running,
                    completed=stats.completed if answers.known else None,
                    failed=stats.failed if answers.known else None,
                    rate_limit=own.rate_limit or default,
                )
            )
        return standing

    def _with_tokens(self, tenants: list[TenantStanding]) -> list[TenantStanding]:
        """Ask for the tokens of those who are told."""
        rates = {each.tenant: parse_rate(each.rate_limit) for each in tenants if each.rate_limit}
        tokens = self._told(lambda: self._turns.limiter.standing(rates)) or {}
        return [
            replace(each, tokens=tokens[each.tenant].tokens, next_token_in=tokens[each.tenant].next_token_in)
            if each.tenant in tokens
            else each
            for each in tenants
        ]

    def _told(self, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except RegistryUnavailable:
            return None


def _state(
    waiting: int | None, running: int | None, *, paused: bool, removing: bool, throttled: bool, served: bool
) -> State:
    """Return the first of these that holds."""
    holds: dict[State, Any] = {
        "removing": removing,
        "paused": paused,
        "unknown": waiting is None,
        "throttled": throttled and waiting,
        "running": running,
        "no worker": waiting and not served,
        "waiting": waiting,
        "idle": True,
    }
    return next(state for state, is_so in holds.items() if is_so)
