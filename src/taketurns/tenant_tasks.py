"""A tenant's tasks, as it sees them itself: look, list, cancel."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from taketurns.cancelling import Cancellation, cancel
from taketurns.dependencies.waiting import checked_parent
from taketurns.errors import InvalidInput
from taketurns.live.following import follow
from taketurns.options import checked_id
from taketurns.records.lifecycle import FINAL, STATES
from taketurns.tenants import tenant_of, validate_tenant
from taketurns.topology import PRIORITIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from taketurns.extension import TakeTurns
    from taketurns.live.event import Event
    from taketurns.records.durations import Percentiles
    from taketurns.records.lifecycle import State
    from taketurns.records.record import TaskRecord

MOST: Final = 1000
"""Tasks of one page, at most."""

_LOOKED_THROUGH: Final = 5_000
"""Records that are looked through for one page; who filters gets what there is among these, and where to go on."""

_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which tasks: those that have all of this.

    Attributes:
        states: those in one of these states; none is any.
        name: those of this task.
        tag: those with this tag.
        since: those submitted at this time or later, in seconds since 1970.
        until: those submitted before this time.
    """

    states: frozenset[State] = frozenset()
    name: str | None = None
    tag: str | None = None
    since: float | None = None
    until: float | None = None

    def __post_init__(self) -> None:
        for state in self.states:
            if state not in STATES:
                raise InvalidInput(state, f"one of {', '.join(STATES)}", field="state")

    def has(self, record: TaskRecord, state: State) -> bool:
        """Tell whether it is one of them."""
        return (
            (not self.states or state in self.states)
            and (self.name is None or record.name == self.name)
            and (self.tag is None or self.tag in record.tags)
            and (self.since is None or record.submitted_at >= self.since)
            and (self.until is None or record.submitted_at < self.until)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some tasks, the latest first.

    Attributes:
        tasks: each with its state.
        cursor: where to go on; None: these were the last.
    """

    tasks: tuple[tuple[TaskRecord, State], ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class TaskStats:
    """How a tenant's tasks do, as far as they are recorded.

    Attributes:
        queued: how many wait to start, by the names of their priorities.
        delayed: how many wait for their time, or to be tried again.
        waits: how long those that started in the last half hour to hour had waited since they could have; None:
            none has started.
        runs: how long those ran that ended well in that time; None: none has.
    """

    queued: Mapping[str, int]
    delayed: int
    waits: Percentiles | None
    runs: Percentiles | None


def chosen_by(
    states: Iterable[str],
    *,
    name: str | None,
    tag: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Chosen:
    """Return a choice by what people give.

    Raises:
        InvalidInput: there is no such state.
    """
    return Chosen(
        states=frozenset(cast("Iterable[State]", states)),
        name=name,
        tag=tag,
        since=None if since is None else since.timestamp(),
        until=None if until is None else until.timestamp(),
    )


def total(outcomes: Iterable[Cancellation]) -> Cancellation:
    """Return several cancellations as one."""
    several = list(outcomes)
    return Cancellation(
        tuple(each for one in several for each in one.cancelled),
        tuple(each for one in several for each in one.running),
        tuple(each for one in several for each in one.terminated),
        tuple(sorted({each for one in several for each in one.silent})),
    )


class TenantTasks:
    """What is remembered of tenants' tasks, and their cancellation. Thread-safe.

    Only tasks that are recorded are known here; see ``TenantTask.recorded`` and ``TAKETURNS_RECORDS_*``. With a
    ``tenant_key`` the tenant that each method takes is the owner: others who share its queue are not looked at.

    Args:
        turns: the app's TakeTurns.
    """

    def __init__(self, turns: TakeTurns) -> None:
        self._turns = turns

    def get(self, tenant: str, task_id: str) -> TaskRecord | None:
        """Return what is remembered of a task; None: nothing, or it is another tenant's.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
            InvalidInput: the task's id doesn't.
            RegistryUnavailable: Redis is away.
        """
        return self._turns.records.get(validate_tenant(tenant), checked_id(task_id))

    def state(self, record: TaskRecord) -> State:
        """Return a task's state now. Queued while its tenant has no token is throttled, as far as can be told.

        Raises:
            RegistryUnavailable: Redis is away.
        """
        return self._states([record])[0]

    def list(
        self, tenant: str, chosen: Chosen | None = None, *, cursor: str | None = None, limit: int = 100
    ) -> Page:
        """Return tasks of a tenant, the latest first.

        Args:
            tenant: the tenant.
            chosen: which of them; by default all.
            cursor: where a page before ended.
            limit: how many at most, up to 1,000. With a filter a page may have less of them, even none, and a cursor
                all the same: 5,000 records are looked through for one.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
            InvalidInput: ``cursor`` or ``limit`` does not have its accepted form.
            RegistryUnavailable: Redis is away.
        """
        validate_tenant(tenant)
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
            raise InvalidInput(limit, f"a whole number from 1 to {MOST}", field="limit")
        chosen = chosen or Chosen()
        before = _read_cursor(cursor)
        found: list[tuple[TaskRecord, State]] = []
        looked = 0
        while looked < _LOOKED_THROUGH:
            ids = self._turns.records.ids(tenant, before=before, count=min(_AT_ONCE, max(limit, 50)))
            if not ids:
                return Page(tuple(found), None)
            known = self._turns.records.of(tenant, [task_id for _, task_id in ids])
            records = [record for record in known if record is not None]
            states = dict(zip((each.id for each in records), self._states(records), strict=True))
            for place, record in zip(ids, known, strict=True):
                before = place
                looked += 1
                if chosen.since is not None and place[0] < chosen.since:
                    return Page(tuple(found), None)  # all that follow are older
                if record is not None and chosen.has(record, states[record.id]):
                    found.append((record, states[record.id]))
                    if len(found) == limit:
                        return Page(tuple(found), _cursor(before))
        return Page(tuple(found), _cursor(before))

    def each(
        self, tenant: str, chosen: Chosen | None = None, *, limit: int | None = None
    ) -> Iterator[tuple[TaskRecord, State]]:
        """Return tasks of a tenant, the latest first, whatever pages that takes; the errors are those of [list][]."""
        cursor: str | None = None
        left = math.inf if limit is None else limit
        while left > 0:
            page = self.list(tenant, chosen, cursor=cursor, limit=int(min(left, MOST)))
            yield from page.tasks
            left -= len(page.tasks)
            if (cursor := page.cursor) is None:
                return

    def stats(self, tenant: str) -> TaskStats:
        """Return how a tenant's tasks do, as far as they are recorded.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
            RegistryUnavailable: Redis is away.
        """
        records = self._turns.records
        counts = records.counts(validate_tenant(tenant))
        waits, runs = records.durations(tenant)
        queued = {name: counts["QUEUED", name] for name in PRIORITIES}
        return TaskStats(queued, records.delayed(tenant), waits, runs)

    def follow(
        self, tenant: str, task_id: str, *, after: str | None = None, timeout: float | None = None
    ) -> Iterator[Event]:
        """Return a task's events until it has ended; see [follow][taketurns.live.following.follow]."""
        return follow(self._turns, tenant, checked_id(task_id), after=after, timeout=timeout)

    def cancel(self, tenant: str, task_ids: Sequence[str], *, terminate: bool = False) -> Cancellation:
        """Cancel tasks; those that have come to their end, or that nobody knows, are left out. May be repeated.

        Args:
            tenant: the tenant, whose tasks alone are cancelled.
            task_ids: the tasks.
            terminate: end those that run, by ending their process (prefork; other pools can't). Without it they go
                on, but are not tried again.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
            InvalidInput: a task's id doesn't, or ``task_ids`` is a text.
            RegistryUnavailable: Redis is away; nothing is cancelled.
            BrokerUnavailable: the workers can't be asked; what had not started will not, a second from now.
        """
        if isinstance(task_ids, str):
            raise InvalidInput(task_ids, "a list of ids", field="task_ids")
        known = self._turns.records.of(validate_tenant(tenant), [checked_id(each) for each in task_ids])
        open_ids = [each.id for each in known if each is not None and each.stored not in FINAL]
        return cancel(self._turns, tenant, open_ids, terminate=terminate)

    def cancel_all(self, tenant: str, chosen: Chosen, *, terminate: bool = False) -> Iterator[Cancellation]:
        """Cancel all tasks that are chosen, some at a time, and return what came of each time.

        The errors are those of [cancel][]; what was returned before stays cancelled.
        """
        cursor: str | None = None
        while True:
            page = self.list(tenant, chosen, cursor=cursor, limit=MOST)
            ids = [record.id for record, state in page.tasks if state not in FINAL]
            if ids:
                yield cancel(self._turns, tenant, ids, terminate=terminate)
            if page.cursor is None:
                return
            cursor = page.cursor

    def release(self, tenant: str, task_id: str) -> int:
        """Let go of what waits for a task as if it had succeeded, and return how many tasks that were.

        For somebody who knows that it has, when Redis has forgotten it, and the app's result backend too.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
            InvalidInput: the task's id doesn't.
            RegistryUnavailable: Redis is away.
            BrokerUnavailable: RabbitMQ is away.
        """
        return self._turns.dependencies.succeeded(validate_tenant(tenant), checked_parent(task_id))

    def _states(self, records: Sequence[TaskRecord]) -> Sequence[State]:
        now = time.time()
        states = [record.state(now) for record in records]
        if "QUEUED" not in states:
            return states
        # One owner's tasks may be in the queues of several tenants, after it was mapped anew.
        tenants = [self._tenant_of(record) for record in records]
        asked = {tenant for tenant, state in zip(tenants, states, strict=True) if state == "QUEUED"}
        throttled = {tenant for tenant in asked if self._is_throttled(tenant)}
        return [
            "THROTTLED" if state == "QUEUED" and tenant in throttled else state
            for tenant, state in zip(tenants, states, strict=True)
        ]

    def _tenant_of(self, record: TaskRecord) -> str:
        key = self._turns.tenancy.key
        return tenant_of(record.queue) or key.whose_now(record.tenant, record.tenant).tenant

    def _is_throttled(self, tenant: str) -> bool:
        limits = self._turns.limits.of(tenant, "", None, None)
        if limits.tenant_rate is None:
            return False
        rates = self._turns.limiter.status(tenant, limits.tenant_rate, {}, {})
        return any(rate.next_token_in > 0 for rate in rates)


def _cursor(place: tuple[float, str] | None) -> str | None:
    return None if place is None else f"{place[0]!r}:{place[1]}"


def _read_cursor(cursor: str | None) -> tuple[float, str] | None:
    if cursor is None:
        return None
    at, _, task_id = cursor.partition(":")
    try:
        if task_id and math.isfinite(place := float(at)):
            return place, checked_id(task_id)
    except ValueError:  # InvalidInput is one
        pass
    raise InvalidInput(cursor, "the cursor of a page before", field="cursor")
