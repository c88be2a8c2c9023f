"""Dependencies as the other parts use them: submit, tell of ends, let go."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from taketurns.dependencies.awaited import Awaited
from taketurns.dependencies.judging import judge
from taketurns.dependencies.release import release
from taketurns.dependencies.waiting import COUNTDOWN_HEADER, DEPENDS_HEADER, after_queue
from taketurns.errors import BrokerUnavailable, InvalidInput, TaketurnsError
from taketurns.records.lifecycle import FINAL, Step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kombu import Queue

    from taketurns.extension import TakeTurns
    from taketurns.records.lifecycle import Stored

logger = logging.getLogger(__name__)

_ATTENDED_EVERY: Final = 60.0
"""Seconds between two notes of a process that a tenant uses dependencies."""

_REMEMBERED: Final = 100_000

_KNOWN_WITHIN: Final = 1.2
"""Seconds until a worker that was not told of it knows that a tenant uses dependencies."""

_LOOK_EVERY: Final = 0.01

_BY_SUBMITTER: Final = 100
"""Tasks that a submission lets go of, at most, if its parent has ended meanwhile; others see to the rest."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """A submission that waits for others.

    Attributes:
        parents: the parents that have not succeeded.
        at: the one in whose queue it waits first.
    """

    parents: tuple[str, ...]
    at: str

    def queue(self, tenant: str) -> Queue:
        """Return where it waits."""
        return after_queue(tenant, self.at)

    def headers(self, countdown: float | None) -> dict[str, Any]:
        """Return what its message says of that."""
        later = {COUNTDOWN_HEADER: float(countdown)} if countdown is not None and countdown > 0 else {}
        return {DEPENDS_HEADER: list(self.parents), **later}


class Dependencies:
    """What tasks wait for others: ``turns.dependencies``. Thread-safe, and safe after a fork.

    Args:
        turns: the app's TakeTurns.

    Attributes:
        awaited: which tasks others wait for.
    """

    def __init__(self, turns: TakeTurns) -> None:
        self._turns = turns
        self.awaited = Awaited(turns.store, turns.records)
        self._attended: dict[str, float] = {}

    def check(self, tenant: str, task_id: str, parents: Sequence[str]) -> Blocked | None:
        """Return what a submission has to wait for; None: all of its parents have succeeded.

        Of a tenant that has not used dependencies for a day, all workers know after this that it does: they write
        down the ends of its tasks before they acknowledge them. That takes 1.2 seconds if one does not answer.

        Raises:
            InvalidInput: a parent is the task itself, or no task of the tenant that is remembered.
            RegistryUnavailable: Redis is away; nothing can be said of the parents.
        """
        if not self._turns.settings.records.enabled:
            raise InvalidInput(
                list(parents), "nothing while TAKETURNS_RECORDS_ENABLED is false", field="depends_on"
            )
        if task_id in parents:
            raise InvalidInput(task_id, "another task than itself", field="depends_on")
        self._attend(tenant)
        standings = self.awaited.standings(tenant, parents)
        for parent, state in standings.items():
            if state is None:
                raise InvalidInput(
                    parent,
                    "the id of a task of the same tenant that is remembered (see TAKETURNS_RECORDS_*)",
                    field="depends_on",
                )
        verdict = judge(standings)
        if not (verdict.because or verdict.waits_for):
            return None
        left = tuple(parent for parent, state in standings.items() if state != "SUCCESS")
        failed = (parent for parent in left if standings[parent] in FINAL)
        return Blocked(left, next(failed, verdict.waits_for or left[0]))

    def submitted(self, tenant: str, blocked: Blocked) -> None:
        """Look after a submission that waits, once the broker has confirmed it. Never fails.

        Its parents may have ended since they were looked at. If a server is away now the reaper sees to it later.
        """
        try:
            self.awaited.mark(tenant, blocked.parents, at=[blocked.at])
            ends = {
                parent: state
                for parent, state in self.awaited.standings(tenant, blocked.parents).items()
                if state in FINAL
            }
            self.awaited.ended(tenant, ends)
            if blocked.at in ends or any(state != "SUCCESS" for state in ends.values()):
                release(self._turns, self.awaited, [(tenant, blocked.at)], most=_BY_SUBMITTER)
        except TaketurnsError as error:
            logger.warning("a task of %s that waits for %s is seen to later: %s", tenant, blocked.at, error)

    def ended(self, ends: Mapping[str, Mapping[str, Stored]]) -> int:
        """Let go of those that wait for tasks which have ended, by tenant; their records are written by now.

        Returns:
            How many were let go of, or have failed.

        Raises:
            BrokerUnavailable: RabbitMQ is away; the reaper sees to it later.
            RegistryUnavailable: Redis is away; the same.
        """
        parents = [
            (tenant, parent)
            for tenant, states in ends.items()
            for parent in self.awaited.ended(tenant, states)
        ]
        return release(self._turns, self.awaited, parents) if parents else 0

    def succeeded(self, tenant: str, parent: str) -> int:
        """Let go of those that wait for a task as if it had succeeded, because somebody knows that it has.

        Raises:
            BrokerUnavailable: RabbitMQ is away.
            RegistryUnavailable: Redis is away.
        """
        self._turns.records.write({tenant: [Step(parent, "completed", time.time())]})
        self.awaited.mark(tenant, [], at=[parent])
        return self.ended({tenant: {parent: "SUCCESS"}})

    def _attend(self, tenant: str) -> None:
        now = time.monotonic()
        if now < self._attended.get(tenant, 0.0):
            return
        if self.awaited.attend(tenant):
            self._tell_workers(tenant)
        if len(self._attended) >= _REMEMBERED:
            self._attended.clear()
        self._attended[tenant] = now + _ATTENDED_EVERY

    def _tell_workers(self, tenant: str) -> None:
        """Return when all workers know that a tenant uses dependencies.

        They answer by Redis: what only submits may have no queue for answers.
        """
        deadline = time.monotonic() + _KNOWN_WITHIN
        workers = set(self._turns.registry.workers())
        if workers:
            with suppress(BrokerUnavailable):  # they look by themselves, every second
                self._turns.publisher.tell(workers, "taketurns_depending", {"tenant": tenant})
        while workers - self.awaited.known_to(tenant) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY)
