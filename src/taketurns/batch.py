"""Many tasks of a tenant, checked one by one and submitted together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from taketurns.dependencies.waiting import nowhere_to_wait
from taketurns.errors import (
    BrokerUnavailable,
    InvalidBatch,
    InvalidInput,
    KeyConflict,
    PublishNotConfirmed,
    TaketurnsError,
    UnknownTask,
)
from taketurns.idempotency import Wanted
from taketurns.ready import OPTIONS, check_arguments, checked
from taketurns.tenants import validate_tenant
from taketurns.together import Sending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from taketurns.extension import TakeTurns
    from taketurns.idempotency import Claim
    from taketurns.idempotency.keys import Outcome
    from taketurns.ready import Ready
    from taketurns.task import TenantTask

_SECONDS_EACH: Final = 0.005
"""Seconds that each task adds to the publish timeout, which is for one."""

_SECONDS_EACH_DEPENDENT: Final = 0.02
"""Seconds that each task which depends on others adds besides: it may have a queue of its own."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of one task of several.

    Attributes:
        task_id: its id; with an idempotency key that was used before, that of the first submission.
        duplicate: it was submitted before.
        error: why it was not confirmed; None: it was. After PublishNotConfirmed it may run all the same.
        blocked: it waits for tasks that it depends on.
        due: when it is to start at the earliest, if not at once.
    """

    task_id: str
    duplicate: bool = False
    error: TaketurnsError | None = None
    blocked: bool = False
    due: datetime | None = None


class Batch:
    """Collects tasks of a tenant, and submits them; see [submit_many][taketurns.TakeTurns.submit_many].

    Args:
        turns: the app's TakeTurns.
        tenant: the tenant; with a ``tenant_key`` the owner.

    Raises:
        InvalidTenant: the tenant id does not have the accepted form, or the app's ``tenant_key`` returned none.
        TenantKeyFailed: the app's ``tenant_key`` raised an error.
    """

    def __init__(self, turns: TakeTurns, tenant: str) -> None:
        self._turns = turns
        self._whose = turns.tenancy.key.whose(validate_tenant(tenant))
        self._ready: list[Ready] = []
        self._ids: set[str] = set()
        self._blocked: set[str] = set()

    def __len__(self) -> int:
        return len(self._ready)

    def keyed(self) -> Iterator[tuple[int, str, str]]:
        """Return the place of each task with an idempotency key, the key, and what its task is known by."""
        for place, each in enumerate(self._ready):
            if each.key is not None:
                yield place, each.key, each.fingerprint

    @property
    def seconds(self) -> float:
        """Seconds that [submit][] takes at most, from when the first task is published."""
        dependent = sum(bool(each.parents) for each in self._ready)
        return (
            self._turns.settings.broker.publish_timeout
            + len(self._ready) * _SECONDS_EACH
            + dependent * _SECONDS_EACH_DEPENDENT
        )

    def add(
        self, task: TenantTask | str, args: Sequence[Any], kwargs: Mapping[str, Any], **options: Any
    ) -> None:
        """Add a task; nothing is submitted yet.

        Raises:
            UnknownTask: the app has no such TenantTask.
            InvalidInput: an option or argument does not have the accepted form.
        """
        found = self._turns.app.tasks.get(task) if isinstance(task, str) else task
        if not hasattr(found, "for_tenant"):
            raise UnknownTask(str(task))
        for name in options.keys() - OPTIONS:
            raise InvalidInput(name, f"only {', '.join(sorted(OPTIONS))} here", field="options")
        ready = checked(self._turns.app, found, args, kwargs, options)
        check_arguments(ready)
        self._append(ready)

    def add_row(self, row: Any) -> None:
        """Add a task that is given as one: the task or its name, args, kwargs and options.

        Raises:
            UnknownTask: the app has no such TenantTask.
            InvalidInput: it is not of that form, or an option or argument does not have its own.
        """
        match row:
            case (_, [*_], {}, {}) if all(isinstance(name, str) for name in row[3]):
                task, args, kwargs, options = row
                self.add(task, args, kwargs, **options)
            case _:
                raise InvalidInput(
                    row,
                    'a task or its name, args, kwargs and options, such as ("mail", (1,), {}, {"priority": "high"})',
                    field="submissions",
                )

    def add_fitting(
        self, task: TenantTask, args: Sequence[Any], kwargs: Mapping[str, Any], **options: Any
    ) -> None:
        """Add a task whose arguments came as JSON and are known to fit it; options are some of those of [add][].

        Raises:
            InvalidInput: an option does not have the accepted form.
        """
        self._append(checked(self._turns.app, task, args, kwargs, options))

    def submit(self, may_publish: Callable[[], bool] = lambda: True) -> list[Submitted]:
        """Submit all that was added; the errors are those of [submit_many][taketurns.TakeTurns.submit_many].

        Args:
            may_publish: is asked just before the first task is published, which was not done if it says no.
        """
        if not self._ready:
            return []
        firsts, conflicts = self._firsts()
        if conflicts:
            raise InvalidBatch(conflicts)
        claims = self._claimed(firsts)
        new = [
            each
            for place, each in enumerate(self._ready)
            if each.key is None or (firsts[each.key] == place and not claims[each.key].is_duplicate)
        ]
        for each in new:
            if each.key is not None:
                each.task_id = claims[each.key].task_id
        outcomes: dict[Claim, Outcome] = dict.fromkeys(claims.values(), "gone")
        try:
            errors = self._published(new, may_publish) if new else {}
            outcomes |= {
                claims[each.key]: _outcome(errors[each.task_id]) for each in new if each.key is not None
            }
        finally:
            self._turns.keys.finish(self._whose.owner, outcomes)
        told = []
        for place, each in enumerate(self._ready):
            task_id = each.task_id if each.key is None else claims[each.key].task_id
            is_duplicate = each.key is not None and (
                claims[each.key].is_duplicate or firsts[each.key] != place
            )
            error = errors.get(task_id)
            told.append(Submitted(task_id, is_duplicate, error, task_id in self._blocked, each.due))
        return told

    def _append(self, ready: Ready) -> None:
        if ready.task_id in self._ids:
            raise InvalidInput(ready.task_id, "an id of its own for each task", field="task_id")
        self._ids.add(ready.task_id)
        ready.headers |= self._whose.headers()
        self._ready.append(ready)

    def _firsts(self) -> tuple[dict[str, int], dict[int, TaketurnsError]]:
        """Return where each key comes first, and what is wrong with those that come again."""
        firsts: dict[str, int] = {}
        conflicts: dict[int, TaketurnsError] = {}
        for place, key, what in self.keyed():
            if self._ready[firsts.setdefault(key, place)].fingerprint != what:
                conflicts[place] = KeyConflict(key)
        return firsts, conflicts

    def _claimed(self, firsts: Mapping[str, int]) -> dict[str, Claim]:
        wanted = [
            Wanted(key, self._ready[place].fingerprint, self._ready[place].task_id)
            for key, place in firsts.items()
        ]
        if not wanted:
            return {}
        timeout = self._turns.settings.broker.publish_timeout
        claims = self._turns.keys.claim(
            self._whose.owner, wanted, wait=timeout, lasting=timeout + self.seconds
        )
        conflicts = {firsts[key]: KeyConflict(key) for key, claim in claims.items() if claim.is_conflict}
        if conflicts:
            raise InvalidBatch(conflicts)
        return claims

    def _published(
        self, new: Sequence[Ready], may_publish: Callable[[], bool]
    ) -> dict[str, TaketurnsError | None]:
        """Publish, and return why not, by the tasks' ids; None: it is confirmed."""
        turns, tenant = self._turns, self._whose.tenant
        if turns.app.conf.task_always_eager or not turns.canary.has(tenant):
            if not turns.app.conf.task_always_eager and (dependent := [each for each in new if each.parents]):
                raise self._invalid({each.task_id: nowhere_to_wait(each.parents) for each in dependent})
            self._ask(may_publish)
            return self._one_by_one(new)
        with turns.publisher.in_time():
            queue = turns.publisher.ensure(tenant)
            turns.backlog.check(tenant, queue, len(new))
            if (latest := max((each.due.timestamp() for each in new if each.due), default=None)) is not None:
                turns.publisher.delayed(0)  # the ladder is there then
                turns.publisher.touch(tenant, until=latest)
        self._look_at_parents(new)
        self._ask(may_publish)
        with turns.publisher.in_time(self.seconds):
            free = [each for each in new if each.blocked is None]
            dependent = [each for each in new if each.blocked is not None]
            errors = self._together([each for each in free if each.task.is_submitted_plainly], queue, {})
            errors |= self._one_by_one([each for each in free if not each.task.is_submitted_plainly])
            if not all(each.task.is_submitted_plainly for each in dependent):
                return errors | self._one_by_one(dependent)
            for level in _levels(dependent):
                errors |= self._together(level, queue, errors)
            return errors

    def _together(
        self, several: Sequence[Ready], queue: str, before: Mapping[str, TaketurnsError | None]
    ) -> dict[str, TaketurnsError | None]:
        """Publish some that don't depend on each other, and return why not; ``before`` tells that of others."""
        turns, owner = self._turns, self._whose.owner
        orphans = {
            each.task_id: parent
            for each in several
            for parent in each.parents
            if before.get(parent) is not None
        }
        errors: dict[str, TaketurnsError | None] = {
            task_id: BrokerUnavailable(f"nothing was submitted: task {parent}, which it depends on, was not")
            for task_id, parent in orphans.items()
        }
        left = [each for each in several if each.task_id not in orphans]
        turns.recorder.submitted_together(owner, left, self._whose.other_queue)
        errors |= Sending(turns, self._whose, queue).send(left)
        for each in left:
            if errors[each.task_id] is not None:
                turns.recorder.not_submitted(each.task, owner, each.task_id)
        waiting = {
            each.task_id: each.blocked for each in left if each.blocked and errors[each.task_id] is None
        }
        self._blocked |= waiting.keys()
        turns.dependencies.submitted(owner, list(waiting.values()))
        return errors

    def _look_at_parents(self, new: Sequence[Ready]) -> None:
        """Find out what tasks wait for, before the first is published.

        Raises:
            InvalidBatch: some depend on what they can't depend on.
            RegistryUnavailable: Redis is away; nothing can be said of the parents.
        """
        dependent = {each.task_id: each.parents for each in new if each.parents}
        if not dependent:
            return
        others = {each.task_id for each in new if not each.parents}
        waits, errors = self._turns.dependencies.check_together(self._whose.owner, dependent, others)
        if errors:
            raise self._invalid(errors)
        for each in new:
            each.blocked = waits.get(each.task_id)

    def _invalid(self, errors: Mapping[str, InvalidInput]) -> InvalidBatch:
        return InvalidBatch(
            {place: errors[each.task_id] for place, each in enumerate(self._ready) if each.task_id in errors}
        )

    def _ask(self, may_publish: Callable[[], bool]) -> None:
        if not may_publish():
            raise BrokerUnavailable("it took too long; nothing was submitted")

    def _one_by_one(self, several: Iterable[Ready]) -> dict[str, TaketurnsError | None]:
        errors: dict[str, TaketurnsError | None] = {}
        with self._turns.publisher.in_time(self.seconds):
            for each in several:
                options = {name: value for name, value in each.given.items() if name != "idempotency_key"}
                options |= {"task_id": each.task_id, "tenant": self._whose.owner}
                try:
                    result = each.task.apply_async(each.args, each.kwargs, **options)
                except TaketurnsError as error:
                    errors[each.task_id] = error
                else:
                    errors[each.task_id] = None
                    if getattr(result, "blocked", False):
                        self._blocked.add(each.task_id)
        return errors


def _levels(dependent: Iterable[Ready]) -> list[list[Ready]]:
    """Return tasks so that what one waits for comes before it, as many at a time as can be."""
    levels: list[list[Ready]] = []
    level_of: dict[str, int] = {}
    for each in dependent:
        level = level_of[each.task_id] = max(level_of.get(parent, -1) for parent in each.parents) + 1
        if level == len(levels):
            levels.append([])
        levels[level].append(each)
    return levels


def _outcome(error: TaketurnsError | None) -> Outcome:
    if error is None:
        return "done"
    return "open" if isinstance(error, PublishNotConfirmed) else "gone"
