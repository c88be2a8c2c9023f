"""Why a tenant's next message has not started on this worker, when it will by what is known, and who is throttled.

Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from taketurns.worker.commands import Park
from taketurns.worker.tenant import order, place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.worker.commands import M
    from taketurns.worker.tenant import Tenant
    from taketurns.worker.turns import Turns


@dataclass(frozen=True, slots=True)
class Outlook:
    """How a tenant stands on one worker.

    Attributes:
        serves: whether the worker serves the tenant's queue.
        hand: its messages that the worker holds and has not started.
        running: its messages that run here.
        parked: why the queue is off, each reason with the seconds that it lasts; None: until it is taken back.
        position: how many turns of other tenants come first here; None if it waits for none.
        seconds: until its turn comes, if each task takes what its like took; None if it waits for none.
    """

    serves: bool
    hand: int = 0
    running: int = 0
    parked: Mapping[str, float | None] | None = None
    position: int | None = None
    seconds: float | None = None


def outlook(turns: Turns[M], queue: str, *, slots: int, now: float, limited_until: float = 0.0) -> Outlook:
    """Tell how the tenant of a queue stands; costs a look at every tenant that waits.

    Args:
        turns: the worker's scheduler.
        queue: the tenant's queue.
        slots: the messages that the worker can run at a time.
        now: the time of the scheduler's clock.
        limited_until: the time before which the message at the head can't start. A throttled queue may be looked at
            earlier, for one that another limit holds for.
    """
    tenant = turns.tenants.get(queue)
    if tenant is None or tenant.removed:
        return Outlook(serves=False)
    parked = {
        reason.value: None if until == math.inf else max(0.0, until - now)
        for reason, until in tenant.parked.items()
    }
    throttled_for = parked.get(Park.THROTTLED.value)
    if throttled_for is not None:
        parked[Park.THROTTLED.value] = max(throttled_for, limited_until - now)
    position = seconds = None
    if tenant.ticket or tenant.hand or tenant in turns.newcomers:
        before = _before(turns, tenant)
        position = len(before)
        seconds = (_busy(turns, now) + sum(_ahead(turns, each, tenant) for each in before)) / slots
    return Outlook(
        serves=True,
        hand=len(tenant.hand),
        running=tenant.running,
        parked=parked,
        position=position,
        seconds=seconds,
    )


def throttled(turns: Turns[M]) -> list[str]:
    """Return the queues that are off for a limit alone; some may be empty. Costs a look at every queue."""
    return [
        tenant.queue
        for tenant in turns.tenants.values()
        if len(tenant.parked) == 1 and Park.THROTTLED in tenant.parked and not tenant.removed
    ]


def _before(turns: Turns[M], tenant: Tenant[M]) -> list[Tenant[M]]:
    """Return the other tenants that have a turn before this one, in no order."""
    if tenant in turns.newcomers:
        return list(takewhile(lambda each: each is not tenant, turns.newcomers))
    if tenant.hand:
        return [each for each in turns.hand.holding if order(each) < order(tenant)]
    own = (place(tenant), tenant.ticket)
    earlier = (each for each in turns.line if (place(each), each.ticket) < own)
    return list({*turns.hand.holding, *earlier} - {tenant})


def _busy(turns: Turns[M], now: float) -> float:
    """Return the slot seconds that what runs will still take, by estimate."""
    return sum(
        max(0.0, taken.estimate - (now - taken.started_at))
        for taken in turns.hand.taken
        if taken.started_at is not None
    )


def _ahead(turns: Turns[M], other: Tenant[M], tenant: Tenant[M]) -> float:
    """Return the slot seconds that another tenant has before this one, by estimate.

    It has turns until its virtual time is past this one's, or until it has nothing more.
    """
    seconds = max(turns.accounts.estimate(other), 1e-6)
    tasks = max(1, math.ceil((tenant.virtual - other.virtual) * other.weight / seconds))
    if other.backlog is not None:
        tasks = min(tasks, len(other.hand) + other.backlog)
    return tasks * seconds
