"""What an application that runs in an event loop can listen to."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from taketurns import options
from taketurns.live.event import checked_id
from taketurns.live.hub import Hub
from taketurns.live.stream import TaskStream, TenantStream

if TYPE_CHECKING:
    from taketurns.extension import TakeTurns


class Live:
    """Streams of the events of tasks, all by one connection to Redis. For one event loop at a time.

    Use one as ``async with turns.live.task("acme", task_id) as stream: async for event in stream: ...``. It stays
    while Redis is away, and goes on with what happened in between. What it yields may be None: a sign of life, every
    15 seconds in which nothing happens.

    Args:
        turns: the app's TakeTurns.
    """

    def __init__(self, turns: TakeTurns) -> None:
        self._turns = turns

    def task(
        self, tenant: str, task_id: str, *, after: str | None = None, until: float | None = None
    ) -> TaskStream:
        """Return the events of a tenant's task, from its first one on, until it ends.

        Args:
            tenant: the tenant.
            task_id: the task.
            after: the id of the last event that was seen before; None: none was.
            until: when the stream ends at the latest, in seconds since 1970.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
            InvalidInput: ``task_id`` or ``after`` has not the form of an id.
        """
        after = checked_id(after, of="after")
        return TaskStream(
            self._turns, self._hub, tenant, options.checked_id(task_id), after=after, until=until
        )

    def tenant(self, tenant: str, *, after: str | None = None, until: float | None = None) -> TenantStream:
        """Return the events of all tasks of a tenant from now on, or after one; the rest is as in [task][].

        An event ``gap`` says that events may be missing, since Redis does not remember them any more.
        """
        after = checked_id(after, of="after")
        return TenantStream(self._turns, self._hub, tenant, None, after=after, until=until)

    def close(self) -> None:
        """Have all streams end, in their event loop, since the process is about to."""
        self._hub.close()

    @cached_property
    def _hub(self) -> Hub:
        settings = self._turns.settings
        return Hub(settings.redis, settings.tls)
