"""The removal of idle tenant queues: steps after which no message can be in a queue that goes, or on its way there.

The broker's own check, "delete if empty", is not enough, for two reasons that were both measured. It counts only
ready messages, so one that a worker holds is gone when it is given back. And while a queue is being deleted the
broker confirms what is published into it, and drops it: with three publishers at work two messages vanished with
each queue, on 3.10 and on 4.3. So nobody may hold anything, and the way into the queue is closed first: a task that
is published meanwhile goes to the lost queue, whence the recoverer sends it on to the tenant's queue, the old one
or a new one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from taketurns.errors import BrokerUnavailable, RegistryUnavailable
from taketurns.reaper.policy import decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taketurns.management import Deletion, Management
    from taketurns.reaper.policy import Decision, Snapshot
    from taketurns.reaper.routes import Routes
    from taketurns.reaper.witnesses import Witnesses
    from taketurns.reaper.workers import LiveWorkers
    from taketurns.registry import Registry
    from taketurns.settings import ReaperSettings

logger = logging.getLogger(__name__)

LOGGED_NAMES: Final = 10

Empty = Callable[[Collection[str], Callable[[], None]], None]
"""What throws away what waits in tenants' queues; the second argument keeps their workers away for longer."""


class Removal:
    """Removes queues that were found idle, or leaves them as they were."""

    def __init__(
        self,
        *,
        management: Management,
        registry: Registry,
        workers: LiveWorkers,
        routes: Routes,
        witnesses: Witnesses,
        settings: ReaperSettings,
        look: Callable[[], Snapshot],
        must_stop: Callable[[], str | None],
        empty: Empty | None = None,
    ) -> None:
        """Prepare a removal.

        Args:
            management: lists the queues, and deletes the classic ones.
            registry: keeps draining marks and activity.
            workers: the live workers.
            routes: the ways into the queues.
            witnesses: delete the quorum queues.
            settings: how long the steps may take.
            look: returns a new snapshot.
            must_stop: returns why nothing more may be removed, or None.
            empty: called with tenants of which nobody holds anything, when the way into their queues is closed, and
                with what keeps it so for longer.
        """
        self._management = management
        self._registry = registry
        self._workers = workers
        self._routes = routes
        self._witnesses = witnesses
        self._settings = settings
        self._look = look
        self._must_stop = must_stop
        self._empty = empty

    def remove(self, candidates: Sequence[Decision]) -> list[Decision]:
        """Remove the candidates' queues that nobody has come to need meanwhile.

        The tenants are marked as draining, so that nobody subscribes to their queues or binds them; each live
        worker confirms that it holds and runs nothing of them; their bindings are taken away; everything is looked
        at again; each queue is deleted only if it is empty and without a consumer: a classic one by the broker's own
        condition, a quorum one if its witnesses say so. Whatever isn't removed
        is served again at the end, also if a step fails. Should this process die, the marks and the workers' drain
        expire, and the recoverer binds a queue for which something comes.

        Returns:
            What became of each candidate.

        Raises:
            ManagementUnavailable: the management API went away; a queue may have been deleted unnoticed, which
                its workers find out by themselves.
            BrokerUnavailable: the workers, or a quorum queue, can't be reached; a queue may have been deleted too.
            RegistryUnavailable: Redis went away.
        """
        expiry = self._settings.drain_expiry
        deadline = time.monotonic() + expiry
        tenants = [candidate.tenant for candidate in candidates]
        outcomes: list[Decision] = []

        def renew() -> None:
            nonlocal deadline
            now = time.monotonic()
            if now < deadline:  # later it may have been undone meanwhile
                self._registry.mark_draining(tenants, expiry)
                self._workers.keep_away(tenants, expiry=expiry)
                deadline = now + expiry

        try:
            self._registry.mark_draining(tenants, expiry)
            held = self._workers.drain(tenants, expiry=expiry, within=self._settings.confirm_timeout)
            outcomes += [each.kept(held[each.tenant]) for each in candidates if each.tenant in held]
            drained = [each for each in candidates if each.tenant not in held]
            self._routes.close([each.tenant for each in drained])
            if self._empty is not None:
                self._empty([each.tenant for each in drained], renew)
            for candidate in self._look_again(drained):
                outcomes.append(self._delete(candidate, deadline) if candidate.remove else candidate)
        finally:
            removed = [outcome.tenant for outcome in outcomes if outcome.remove]
            self._finish(removed)
            # After the deadline everything is undone already, and perhaps being done again by another reaper.
            if time.monotonic() < deadline:
                self._undo(sorted(set(tenants) - set(removed)))
            _log(outcomes)
        return outcomes

    def _look_again(self, candidates: Sequence[Decision]) -> list[Decision]:
        """Decide once more for drained queues, by what is there now."""
        if not candidates:
            return []
        snapshot = self._look()
        now = {each.queue: each for each in decide(replace(snapshot, draining=frozenset()))}
        again = []
        for candidate in candidates:
            if candidate.tenant not in snapshot.draining:
                again.append(candidate.kept("its draining mark is gone"))
            else:
                again.append(now.get(candidate.queue) or candidate.kept("unknown to the live listing"))
        return again

    def _delete(self, candidate: Decision, deadline: float) -> Decision:
        if reason := self._must_stop():
            return candidate.kept(reason)
        if time.monotonic() >= deadline:
            return candidate.kept("its draining mark has expired")
        if candidate.tenant not in self._registry.draining():  # Redis was flushed: its way may be open again
            return candidate.kept("its draining mark is gone")
        outcome = self._delete_if_idle(candidate)
        if outcome == "refused":
            # By somebody who may leave no record; without one of ours it would be tried again in every run.
            self._registry.touch(candidate.tenant)
            return candidate.kept("in use: a message or a consumer came meanwhile")
        return candidate

    def _delete_if_idle(self, candidate: Decision) -> Deletion:
        if candidate.queue_type == "quorum":
            return self._witnesses.delete_queue(candidate.queue)
        return self._management.delete_queue(candidate.queue, if_empty=True, if_unused=True)

    def _finish(self, removed: Collection[str]) -> None:
        """Have everybody forget removed queues."""
        if not removed:
            return
        try:
            self._workers.drop(removed)
        except BrokerUnavailable as error:
            logger.warning("the workers were not told of %d removed queues: %s", len(removed), error)
        try:
            for tenant in removed:
                self._registry.clear_activity(tenant)
            self._registry.unmark_draining(removed)
        except RegistryUnavailable as error:
            logger.warning("the records of %d removed queues were not cleared: %s", len(removed), error)

    def _undo(self, kept: Collection[str]) -> None:
        """Have queues served again that stay."""
        if not kept:
            return
        try:
            self._routes.reopen(kept)
        except BrokerUnavailable as error:
            logger.warning("tasks for %d queues take the way through the lost queue: %s", len(kept), error)
        try:
            self._registry.unmark_draining(kept)
        except RegistryUnavailable as error:
            logger.warning("%d queues stay marked until the marks expire: %s", len(kept), error)
        try:
            self._workers.resume(kept)
        except BrokerUnavailable as error:
            logger.warning("%d queues stay drained until the drain expires: %s", len(kept), error)


def _log(outcomes: Collection[Decision]) -> None:
    """Log a line for what was removed, and one for each reason why something was not."""
    if removed := [outcome.tenant for outcome in outcomes if outcome.remove]:
        logger.info("idle queues removed: %d, of %s", len(removed), _some(removed))
    kept: dict[str, list[str]] = {}
    for outcome in outcomes:
        if not outcome.remove:
            kept.setdefault(outcome.reason, []).append(outcome.tenant)
    for reason, tenants in kept.items():
        logger.info("idle queues kept: %d, of %s: %s", len(tenants), _some(tenants), reason)


def _some(names: Sequence[str]) -> str:
    more = len(names) - LOGGED_NAMES
    return ", ".join(names[:LOGGED_NAMES]) + (f" and {more} more" if more > 0 else "")
