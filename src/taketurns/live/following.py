"""Following a task in a program that has no event loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from taketurns.errors import RegistryUnavailable, TaskNotFound
from taketurns.live.event import History, checked_id
from taketurns.tenants import validate_tenant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.extension import TakeTurns
    from taketurns.live.event import Event

_INTERVAL: Final = 0.1
"""Seconds between two looks; progress is not recorded more often either."""


def follow(
    turns: TakeTurns, tenant: str, task_id: str, *, after: str | None, timeout: float | None
) -> Iterator[Event]:
    """Return a task's events, from the first one on, until it has ended.

    Redis may go away meanwhile; what happened then is told when it is back.

    Args:
        turns: the app's TakeTurns.
        tenant: the tenant.
        task_id: the task.
        after: the id of the last event that was seen before; None: none was.
        timeout: seconds to wait for the end; None: as long as it takes.

    Raises:
        InvalidTenant: the tenant id does not have the accepted form.
        InvalidInput: ``after`` is no id of an event.
        TaskNotFound: nothing is remembered of the task.
        RegistryUnavailable: Redis is away, from the beginning.
        TimeoutError: it has not ended in time.
    """
    validate_tenant(tenant)
    checked_id(after, of="after")
    deadline = None if timeout is None else time.monotonic() + timeout
    last = after
    history = _look(turns, tenant, task_id)
    if not history.events:
        raise TaskNotFound(tenant, task_id)
    last = history.known(last)
    while True:
        for event in history.after(last):
            last = event.id
            yield event
        if history.is_over:
            return
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError(f"task {task_id} has not ended within {timeout:g} s")
        try:
            time.sleep(_INTERVAL)
            history = _look(turns, tenant, task_id)
        except RegistryUnavailable:  # the store says so, and lets nobody ask before it is time
            continue


def _look(turns: TakeTurns, tenant: str, task_id: str) -> History:
    key = turns.records.key(tenant, task_id)
    return History.of(task_id, turns.store.call(lambda redis: redis.hgetall(key)))
