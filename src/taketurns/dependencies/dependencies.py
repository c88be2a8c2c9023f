"""Dependencies as the other parts use them: submit, tell of ends, let go."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from taketurns.dependencies.awaited import Awaited
from taketurns.dependencies.judging import waits_for
from taketurns.dependencies.release import release
from taketurns.errors import BrokerUnavailable, InvalidInput, TaketurnsError
from taketurns.records.lifecycle import FINAL, Step

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from taketurns.dependencies.waiting import Blocked
    from taketurns.extension import TakeTurns
    from taketurns.records.lifecycle import Stored

logger = logging.getLogger(__name__)

_ATTENDED_EVERY: Final = 60.0
"""Seconds between two notes of a process that a tenant uses dependencies."""

_REMEMBERED: Final = 100_000

_KNOWN_WITHIN: Final = 1.2
"""Seconds until a worker that was not told of it knows that a tenant uses dependencies."""

_LOOK_EVERY: Final = 0.01

_AT_ONCE: Final = 250
"""Submissions, or parents, of one call to Redis, which answers nobody else meanwhile."""

_BY_SUBMITTER: Final = 100
"""Tasks that a submission lets go of, at most, if its parent has ended meanwhile; others see to the rest."""


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
        waits, errors = self.check_together(tenant, {task_id: parents}, ())
        if errors:
            raise errors[task_id]
        return waits[task_id]

    def check_together(
        self, tenant: str, wanted: Mapping[str, Sequence[str]], others: Collection[str]
    ) -> tuple[dict[str, Blocked | None], dict[str, InvalidInput]]:
        """Return what each of several submissions has to wait for, as [check][] does, and what is wrong with others.

        Args:
            tenant: the tenant.
            wanted: the parents of each, in the order in which they are submitted: one may depend on those before it.
            others: the tasks that are submitted before all of them.

        Raises:
            RegistryUnavailable: Redis is away; nothing can be said of the parents.
        """
        if not self._turns.settings.records.enabled:
            accepted = "nothing while TAKETURNS_RECORDS_ENABLED is false"
            return {}, {
                task_id: InvalidInput(list(parents), accepted, field="depends_on")
                for task_id, parents in wanted.items()
            }
        self._attend(tenant)
        states: dict[str, Stored | None] = dict.fromkeys(others, "QUEUED")
        asked = {parent for parents in wanted.values() for parent in parents} - states.keys() - wanted.keys()
        states |= self._standings(tenant, asked)
        waits: dict[str, Blocked | None] = {}
        errors: dict[str, InvalidInput] = {}
        for task_id, parents in wanted.items():
            try:
                waits[task_id] = waits_for(task_id, {parent: states.get(parent) for parent in parents})
            except InvalidInput as error:
                errors[task_id] = error
            states[task_id] = "BLOCKED"
        return waits, errors

    def submitted(self, tenant: str, several: Sequence[Blocked]) -> None:
        """Look after submissions that wait, once the broker has confirmed them. Never fails.

        Their parents may have ended since they were looked at. If a server is away now the reaper sees to it later.
        """
        try:
            for start in range(0, len(several), _AT_ONCE):
                some = several[start : start + _AT_ONCE]
                self.awaited.mark(tenant, [(each.parents, each.at) for each in some])
                parents = {parent for each in some for parent in each.parents}
                standings = self._standings(tenant, parents)
                ends = {parent: state for parent, state in standings.items() if state in FINAL}
                self.awaited.ended(tenant, ends)
                failed = {parent for parent, state in ends.items() if state != "SUCCESS"}
                over = {each.at for each in some if each.at in ends or failed.intersection(each.parents)}
                if over:
                    release(self._turns, self.awaited, [(tenant, at) for at in over], most=_BY_SUBMITTER)
        except TaketurnsError as error:
            logger.warning("tasks of %s that wait for others are seen to later: %s", tenant, error)

    def ended(self, ends: Mapping[str, Mapping[str, Stored]]) -> int:
        """Let go of those that wait for tasks which have ended, by tenant; their records are written by now.

        Returns:
            How many were let go of, or have failed.

        Raises:
            BrokerUnavailable: RabbitMQ is away; the reaper sees to it later.
            RegistryUnavailable: Redis is away; the same.
        """
        return self.let_go(self.note(ends))

    def note(self, ends: Mapping[str, Mapping[str, Stored]]) -> list[tuple[str, str]]:
        """Note how tasks have ended, by tenant, and return those for which others wait, to be let go of.

        Raises:
            RegistryUnavailable: Redis is away; the reaper sees to it later.
        """
        return [
            (tenant, parent)
            for tenant, states in ends.items()
            for parent in self.awaited.ended(tenant, states)
        ]

    def let_go(self, parents: Sequence[tuple[str, str]]) -> int:
        """Let go of those that wait for tasks of whose ends was taken note; the rest is as of [ended][]."""
        return release(self._turns, self.awaited, parents) if parents else 0

    def succeeded(self, tenant: str, parent: str) -> int:
        """Let go of those that wait for a task as if it had succeeded, because somebody knows that it has.

        Raises:
            BrokerUnavailable: RabbitMQ is away.
            RegistryUnavailable: Redis is away.
        """
        self._turns.records.write({tenant: [Step(parent, "completed", time.time())]})
        self.awaited.mark(tenant, [((), parent)])
        return self.ended({tenant: {parent: "SUCCESS"}})

    def _standings(self, tenant: str, task_ids: Collection[str]) -> dict[str, Stored | None]:
        ids = list(task_ids)
        standings: dict[str, Stored | None] = {}
        for start in range(0, len(ids), _AT_ONCE):
            standings |= self.awaited.standings(tenant, ids[start : start + _AT_ONCE])
        return standings

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
