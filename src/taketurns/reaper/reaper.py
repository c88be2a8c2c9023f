"""The reaper: it removes the tenant queues that are idle, and a single tenant when it is told to."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from taketurns.reaper.policy import DECLARED_OTHERWISE, Decision, Snapshot, decide, outlived, unrecorded
from taketurns.reaper.removal import Removal
from taketurns.reaper.routes import Routes
from taketurns.reaper.witnesses import Witnesses
from taketurns.reaper.workers import LiveWorkers
from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from threading import Event

    from taketurns.extension import TakeTurns
    from taketurns.management import QueueInfo
    from taketurns.reaper.removal import Empty

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
        self._witnesses = Witnesses(turns.app, timeout=timeout)
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

    def remove(self, tenant: str, *, empty: Empty | None = None) -> Decision | None:
        """Remove a tenant at an operator's wish, its settings and its queue; or nothing of them.

        The queue goes by the same steps as one that is idle, and only if it is empty, but no idle time is waited
        for. Whichever reaper is the active one, each may do this.

        Args:
            tenant: the tenant.
            empty: throws away what waits in its queue, and returns when the management API knows it. It is called
                when nobody holds anything of it and nothing more can come, with what keeps it so for longer. Then
                delayed tasks don't keep the queue either: when they are due they make a new one.

        Returns:
            What became of the queue, with the reason; None: there was neither a queue nor anything else known.

        Raises:
            ManagementUnavailable: it can't be told what the queue holds.
            BrokerUnavailable: the workers can't be asked what they hold.
            RegistryUnavailable: Redis is away.
        """
        known = self._registry.exists(tenant)
        forced = empty is not None
        snapshot = self._look_at(tenant, forced=forced)
        wanted = Decision(tenant, queue_name(tenant), remove=True, reason="removed by an operator")
        if snapshot.queues:
            # Before the workers are disturbed: most refusals are plain to see.
            (outcome,) = decide(snapshot.emptied() if forced else snapshot)
            if outcome.remove:
                with self._removal(lambda: self._look_at(tenant, forced=forced), empty=empty) as removal:
                    (outcome,) = removal.remove([wanted])
            if not outcome.remove:
                return outcome
        elif not known:
            return None
        self._registry.forget(tenant)
        self._registry.clear_activity(tenant)
        return wanted

    def resign(self) -> None:
        """Let another reaper become the active one at once.

        Raises:
            RegistryUnavailable: Redis is away; another one follows when the role expires.
        """
        self._registry.resign(ROLE, self._owner)

    def _lead(self) -> bool:
        return self._registry.lead(ROLE, self._owner, self._settings.interval + LEAD_MARGIN)

    def _look(self) -> Snapshot:
        return self._snapshot(self._management.tenant_queues())

    def _look_at(self, tenant: str, *, forced: bool) -> Snapshot:
        """Look at one tenant only, for which any time without activity counts as idle."""
        queue = self._management.queue(queue_name(tenant))
        snapshot = self._snapshot({queue.name: queue} if queue else {})
        # A time to come is a delayed task's, and keeps the queue unless it goes by force.
        last = 0.0 if forced else snapshot.activity.get(tenant, 0.0)
        return replace(snapshot, activity={tenant: last}, idle_time=0.0)

    def _snapshot(self, queues: Mapping[str, QueueInfo]) -> Snapshot:
        # After the queues, and the time last: a task that is published meanwhile shows in the activity, and no
        # activity lies in the future but that of delayed tasks.
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

        with self._removal(self._look, must_stop) as removal:
            for start in range(0, len(idle), BATCH):
                batch = idle[start : start + BATCH]
                if reason := must_stop():
                    yield from (candidate.kept(reason) for candidate in batch)
                else:
                    yield from removal.remove(batch)

    @contextmanager
    def _removal(
        self,
        look: Callable[[], Snapshot],
        must_stop: Callable[[], str | None] = lambda: None,
        empty: Empty | None = None,
    ) -> Iterator[Removal]:
        """Lend a removal, and close its connections when the block ends."""
        try:
            yield Removal(
                management=self._management,
                registry=self._registry,
                workers=self._workers,
                routes=self._routes,
                witnesses=self._witnesses,
                settings=self._settings,
                look=look,
                must_stop=must_stop,
                empty=empty,
            )
        finally:
            self._workers.disconnect()
            self._routes.disconnect()
            self._witnesses.disconnect()

    def _report_foreign(self, decisions: Sequence[Decision]) -> None:
        foreign = {each.queue for each in decisions if each.reason == DECLARED_OTHERWISE}
        for queue in sorted(foreign - self._reported):
            logger.warning("queue %s is %s", queue, DECLARED_OTHERWISE)
        self._reported = foreign
