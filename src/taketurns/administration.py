"""What operators do with tenants: the same from Python, on the command line and over HTTP."""

from __future__ import annotations

import uuid
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Final

from taketurns import purging
from taketurns.emptying import Emptying, let_go
from taketurns.errors import BrokerUnavailable, RegistryUnavailable, TenantInUse, UnknownTenant
from taketurns.limits.standing import rates_of
from taketurns.progress import unheard
from taketurns.reaper.reaper import Reaper
from taketurns.roster import known_tenant
from taketurns.tenants import validate_tenant

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from taketurns.extension import TakeTurns
    from taketurns.limits.limiter import RateStatus
    from taketurns.progress import Step

_BATCH: Final = "batch_"
"""How the name of a tenant begins that was created without one."""

_HELD: Final = 60.0
"""Seconds that a removal has until the tenant's schedules go on; more than it takes."""


def create(turns: TakeTurns, tenant: str | None, **settings: object) -> str:
    """Create a tenant; see [TakeTurns.create][taketurns.extension.TakeTurns.create]."""
    name = f"{_BATCH}{uuid.uuid4()}" if tenant is None else tenant
    turns.registry.create(name, **settings)
    try:
        with turns.publisher.in_time():
            turns.publisher.ensure(name)
    except BrokerUnavailable:
        with suppress(RegistryUnavailable):  # or the next attempt would be told that it exists
            turns.registry.forget(name)
            turns.registry.clear_activity(name)
        raise
    return name


def rate_status(turns: TakeTurns, tenant: str) -> list[RateStatus]:
    """Return how a tenant's rates stand; see [TakeTurns.rate_status][taketurns.extension.TakeTurns.rate_status]."""
    settings = known_tenant(turns, tenant).settings
    turns.app.loader.import_default_modules()
    tasks = [task for _, task in sorted(turns.app.tasks.items())]
    return rates_of(turns, tenant, settings, tasks)


def remove(turns: TakeTurns, tenant: str, *, force: bool, progress: Callable[[Step], None] = unheard) -> int:
    """Remove a tenant; see [TakeTurns.remove][taketurns.extension.TakeTurns.remove]."""
    thrown_away = 0
    parents: list[tuple[str, str]] = []

    def empty(tenants: Collection[str], renew: Callable[[], None]) -> None:
        nonlocal thrown_away

        def keep() -> None:
            renew()
            if has_own:
                turns.schedules.book.hold(tenant, _HELD)

        emptying = Emptying(turns, reason="its tenant was removed", renew=keep, progress=progress)
        thrown_away += purging.empty(turns, tenants, emptying)
        parents.extend(emptying.parents)

    # Schedules are the owners'; those of one that has a tenant to itself go with it.
    has_own = turns.tenancy.key.whose_now(validate_tenant(tenant), tenant).tenant == tenant
    with _without_schedules(turns, tenant) if has_own else nullcontext(0) as schedules:
        outcome = Reaper(turns).remove(tenant, empty=empty if force else None)
        let_go(turns, parents)
        if outcome is None and not schedules:
            raise UnknownTenant(tenant)
        if outcome is not None and not outcome.remove:
            lost = f"; {thrown_away} tasks that waited are thrown away" if thrown_away else ""
            raise TenantInUse(tenant, f"{outcome.reason}{lost}")
    return thrown_away


@contextmanager
def _without_schedules(turns: TakeTurns, tenant: str) -> Iterator[int]:
    """Hold a tenant's schedules back, which would use its queue again, and remove them at the end of the block.

    If it fails they go on; also by themselves after a while, should this process be killed.
    """
    book = turns.schedules.book
    count = book.hold(tenant, _HELD)
    try:
        yield count
    except BaseException:
        with suppress(RegistryUnavailable):
            book.release(tenant)
        raise
    book.remove_all(tenant)
