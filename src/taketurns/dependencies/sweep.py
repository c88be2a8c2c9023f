"""Seeing to tasks that wait although nothing keeps them: who was to let go of them died, or Redis has forgotten."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend

from taketurns.dependencies.release import release
from taketurns.dependencies.waiting import PREFIX, parent_of
from taketurns.errors import ManagementUnavailable
from taketurns.records.lifecycle import FINAL, Step

if TYPE_CHECKING:
    from taketurns.extension import TakeTurns

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 500


class Sweep:
    """Lets go of what waits for tasks that have ended. For one thread; any number of processes may do it at a time.

    Each run goes by what Redis knows. Once in ``TAKETURNS_REAPER_INTERVAL`` it also asks RabbitMQ's management API
    for the queues of those that wait, and tells Redis; and the app's result backend for the tasks that they wait for,
    as a worker may have been killed before it could say that one has succeeded.
    """

    def __init__(self, turns: TakeTurns, *, interval: float | None = None) -> None:
        """Prepare it for the app of ``turns``; nothing is opened yet.

        Args:
            turns: the installed extension.
            interval: seconds between two of these questions; by default those of the settings.
        """
        self._turns = turns
        self._awaited = turns.dependencies.awaited
        self._interval = turns.settings.reaper.interval if interval is None else interval
        self._next_listing = 0.0

    def run_once(self) -> int:
        """Let go of what can go, and return how many tasks that were.

        Raises:
            BrokerUnavailable: RabbitMQ is away.
            RegistryUnavailable: Redis is away.
        """
        if time.monotonic() >= self._next_listing:
            self._list()
            self._next_listing = time.monotonic() + self._interval
        ready: list[tuple[str, str]] = []
        for tenant in self._awaited.tenants():
            parents = self._awaited.waiting(tenant)
            if parents:
                self._awaited.attend(tenant)
            for first in range(0, len(parents), _AT_ONCE):
                standings = self._awaited.standings(tenant, parents[first : first + _AT_ONCE])
                ends = {parent: state for parent, state in standings.items() if state in FINAL}
                self._awaited.ended(tenant, ends)
                ready += [(tenant, parent) for parent in ends]
        done = release(self._turns, self._awaited, ready) if ready else 0
        if done:
            logger.info("let go of %d tasks that had waited for others which have ended", done)
        return done

    def _list(self) -> None:
        """Have Redis know again of all that waits."""
        try:
            names = self._turns.management.names(PREFIX)
        except ManagementUnavailable as error:
            logger.debug("what waits for other tasks is known from Redis alone: %s", error)
            return
        waiting: dict[str, list[str]] = {}
        for name in names:
            if (found := parent_of(name)) is not None:
                waiting.setdefault(found[0], []).append(found[1])
        for tenant, parents in waiting.items():
            self._awaited.attend(tenant)
            self._awaited.mark(tenant, [((), parent) for parent in parents])
            self._ask_backend(tenant, parents)

    def _ask_backend(self, tenant: str, parents: list[str]) -> None:
        for parent, state in self._awaited.standings(tenant, parents).items():
            if state not in FINAL and _has_succeeded(self._turns.app, parent):
                self._turns.records.write({tenant: [Step(parent, "completed", time.time())]})


def _has_succeeded(app: Any, task_id: str) -> bool:
    """Tell whether the app's result backend says that a task has succeeded."""
    if isinstance(app.backend, DisabledBackend | RPCBackend):  # the latter gives a result away once
        return False
    try:
        return bool(app.backend.get_task_meta(task_id)["status"] == "SUCCESS")
    except Exception:  # noqa: BLE001  # whatever the client of the backend raises
        return False
