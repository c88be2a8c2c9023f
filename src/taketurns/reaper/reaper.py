"""One run of the reaper: which tenant queues are idle, and their removal."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from taketurns.reaper.policy import DECLARED_OTHERWISE, Snapshot, decide, outlived, unrecorded
from taketurns.reaper.removal import Removal
from taketurns.reaper.routes import Routes
from taketurns.reaper.workers import LiveWorkers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from threading import Event

    from taketurns.extension import TakeTurns
    from taketurns.reaper.policy import Decision

logger = logging.getLogger(__name__)

ROLE: Final = "reaper"

# Queues that are drained together: each batch costs the workers two questions and the broker a listing, and a
# worker's loop the time of so many cancels at once.
BATCH: Final = 100

# A leader that died is replaced this much later than its next run would have been due.
LEAD_MARGIN: Final = 30.0


@dataclass(frozen=True)
class ReaperReport:
    """What one run of the reaper did.

    Attributes:
        active: False if another reaper is the active one; this one then did nothing.
        dry_run: whether it only looked.
        decisions: for each tenant queue whether it was removed (in a dry run: would be tried), and why.
        forgotten: tenants whose queue was gone already and whose activity record was therefore cleared.
    """

    active: bool
    dry_run: bool
    decisions: tuple[Decision, ...] = ()
    forgotten: tuple[str, ...] = ()

    @property
    def removed(self) -> tuple[str, ...]:
        """The tenants whose queue was removed; none in a dry run."""
        return () if self.dry_run else tuple(each.tenant for each in self.decisions if each.remove)


class Reaper:
    """Removes the queues of tenants that were idle for ``idle_time``. For one thread.

    However many reapers run, one at a time is active: the first to take the role keeps it from run to run.
    """

    def __init__(self, turns: TakeTurns) -> None:
        """Prepare a reaper for the app of ``turns``; nothing is opened yet."""
        self._settings = turns.settings.reaper
        self._store = turns.store
        self._registry = turns.registry
        self._management = turns.management
        timeout = turns.settings.broker.publish_timeout
        self._workers = LiveWorkers(turns.app, turns.registry, timeout=timeout)
        self._routes = Routes(turns.app, timeout=timeout)
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._reported: set[str] = set()

    def run_once(self, *, dry_run: bool = False, stop: Event | None = None) -> ReaperReport:
        """Remove what is idle now.

        Args:
            dry_run: only tell what would be removed and why the others stay; touches nothing.
            stop: ends the run early, after the queue in hand.

        Raises:
            ManagementUnavailable: RabbitMQ's management API can't be used.
            BrokerUnavailable: the workers can't be asked.
            RegistryUnavailable: Redis is away; without it the reaper removes nothing.
        """
        if dry_run:
            return ReaperReport(active=True, dry_run=True, decisions=tuple(decide(self._look())))
        if not self._lead():
            return ReaperReport(active=False, dry_run=False)
        snapshot = self._look()
        decisions = decide(snapshot)
        self._report_foreign(decisions)
        for tenant in unrecorded(snapshot):
            self._registry.touch(tenant)
        forgotten = outlived(snapshot)
        for tenant in forgotten:
            self._registry.clear_activity(tenant)
        idle = [each for each in decisions if each.remove]
        outcomes = {each.queue: each for each in self._remove(idle, stop)}
        return ReaperReport(
            active=True,
            dry_run=False,
            decisions=tuple(outcomes.get(each.queue, each) for each in decisions),
            forgotten=tuple(forgotten),
        )

    def resign(self) -> None:
        """Let another reaper become the active one at once.

        Raises:
            RegistryUnavailable: Redis is away; another one follows when the role expires.
        """
        self._registry.resign(ROLE, self._owner)

    def _lead(self) -> bool:
        return self._registry.lead(ROLE, self._owner, self._settings.interval + LEAD_MARGIN)

    def _look(self) -> Snapshot:
        # The queues first and the time last: a task that is published meanwhile shows in the activity, and no
        # activity lies in the future but that of delayed tasks.
        queues = self._management.tenant_queues()
        activity = self._registry.activity()
        draining = self._registry.draining()
        seconds, microseconds = self._store.call(lambda redis: redis.time())
        now = seconds + microseconds / 1e6
        return Snapshot(queues, activity, now, self._settings.idle_time, draining)

    def _remove(self, idle: Sequence[Decision], stop: Event | None) -> Iterator[Decision]:
        """Remove idle queues, some at a time."""

        def must_stop() -> str | None:
            if stop is not None and stop.is_set():
                return "the reaper is stopping"
            return None if self._lead() else "another reaper has taken over"

        removal = Removal(
            management=self._management,
            registry=self._registry,
            workers=self._workers,
            routes=self._routes,
            settings=self._settings,
            look=self._look,
            must_stop=must_stop,
        )
        try:
            for start in range(0, len(idle), BATCH):
                batch = idle[start : start + BATCH]
                if reason := must_stop():
                    yield from (candidate.kept(reason) for candidate in batch)
                else:
                    yield from removal.remove(batch)
        finally:
            self._workers.disconnect()
            self._routes.disconnect()

    def _report_foreign(self, decisions: Sequence[Decision]) -> None:
        foreign = {each.queue for each in decisions if each.reason == DECLARED_OTHERWISE}
        for queue in sorted(foreign - self._reported):
            logger.warning("queue %s is %s", queue, DECLARED_OTHERWISE)
        self._reported = foreign
