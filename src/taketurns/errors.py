"""Every error that taketurns raises on purpose.

All derive from [TaketurnsError][], so one ``except`` catches them. Each carries what it is about as attributes,
and its message says what was wrong and what form would be accepted or what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kombu.exceptions import OperationalError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_SHOWN: Final = 300
"""Characters of a wrong value that a message repeats, at most."""


class TaketurnsError(Exception):
    """The base of all errors of this package."""


class InvalidInput(TaketurnsError, ValueError):
    """A value from outside does not have the accepted form.

    Attributes:
        field: the name of the offending field, as the caller knows it.
        value: what was given.
        accepted: the accepted form, in words.
    """

    field = "value"

    def __init__(self, value: object, accepted: str, field: str | None = None) -> None:
        self.field = field or type(self).field
        self.value = value
        self.accepted = accepted
        super().__init__(value, accepted, self.field)  # by these alone a result backend makes it anew

    @property
    def reason(self) -> str:
        """What is wrong and what is accepted, without the field's name."""
        try:
            shown = repr(self.value)
        except (ValueError, RecursionError):  # too many digits, or too many levels
            shown = f"what was given (of type {type(self.value).__name__})"
        if len(shown) > _LONGEST_SHOWN:
            shown = f"{shown[:_LONGEST_SHOWN]}…"
        return f"{shown} is not valid; accepted is {self.accepted}"

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild_invalid_input, (type(self), self.value, self.accepted, self.field))


def _rebuild_invalid_input(cls: type[InvalidInput], value: object, accepted: str, field: str) -> InvalidInput:
    """Unpickle: an exception's own pickling would drop keyword-only fields."""
    return cls(value, accepted, field=field)


class InvalidTenant(InvalidInput):
    """The tenant id does not have the accepted form."""

    field = "tenant"


class InvalidRate(InvalidInput):
    """The rate is not of the form ``count/period[:burst]``."""

    field = "rate_limit"


class InvalidWeight(InvalidInput):
    """The weight is not a finite number above zero."""

    field = "weight"


class InvalidSettings(TaketurnsError):
    """The settings can't be used; the message lists every one that is wrong and what it accepts."""


class MissingTenant(TaketurnsError, TypeError):
    """A TenantTask was submitted without a tenant.

    Attributes:
        task: the name of the task.
        resolver: the name of the app's ``tenant_resolver``, which did not know either; None if it has none.
    """

    def __init__(self, task: str, resolver: str | None = None) -> None:
        self.task = task
        self.resolver = resolver
        super().__init__(task, resolver)

    def __str__(self) -> str:
        asked = "" if self.resolver is None else f" ({self.resolver} returned None)"
        instead = "" if self.resolver is not None else " a tenant_resolver or"
        return (
            f"task {self.task!r} needs a tenant{asked}: pass apply_async(..., tenant='acme'), "
            f"use .for_tenant('acme').delay(...) or .set(tenant='acme') on its signature, "
            f"or give TakeTurns{instead} a default_tenant"
        )


class TenantKeyFailed(TaketurnsError):
    """The app's ``tenant_key`` raised an error, which is this one's cause; nothing was submitted.

    Attributes:
        owner: whose tenant was asked for.
        function: the name of the function.
        reason: the error that it raised.
    """

    def __init__(self, owner: str, function: str, reason: str) -> None:
        self.owner = owner
        self.function = function
        self.reason = reason
        super().__init__(owner, function, reason)

    def __str__(self) -> str:
        return f"tenant_key {self.function} failed for owner {self.owner!r}: {self.reason}"


class ResolverFailed(TaketurnsError):
    """The app's ``tenant_resolver`` raised an error, which is this one's cause; nothing was submitted.

    Attributes:
        task: the name of the task that was to be submitted.
        resolver: the name of the resolver.
        reason: the error that it raised.
    """

    def __init__(self, task: str, resolver: str, reason: str) -> None:
        self.task = task
        self.resolver = resolver
        self.reason = reason
        super().__init__(task, resolver, reason)

    def __str__(self) -> str:
        return f"tenant_resolver {self.resolver} failed for task {self.task!r}: {self.reason}"


class UnknownTask(TaketurnsError, LookupError):
    """No task of that name can be submitted here.

    Attributes:
        task: the name that was asked for.
    """

    def __init__(self, task: str) -> None:
        self.task = task
        super().__init__(task)

    def __str__(self) -> str:
        return f"name: no task {self.task!r} can be submitted here"


class TaskNotFound(TaketurnsError, LookupError):
    """Of the tenant no task of that id is remembered; it may be another tenant's.

    Attributes:
        tenant: the tenant.
        task_id: the id.
    """

    def __init__(self, tenant: str, task_id: str) -> None:
        self.tenant = tenant
        self.task_id = task_id
        super().__init__(tenant, task_id)

    def __str__(self) -> str:
        return f"of {self.tenant} no task of the id {self.task_id!r} is remembered"


class UnknownTenant(TaketurnsError, LookupError):
    """Nothing is known of the tenant.

    Attributes:
        tenant: the tenant.
    """

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        super().__init__(tenant)

    def __str__(self) -> str:
        return f"there is no tenant {self.tenant!r}: it has neither a queue nor settings"


class TenantExists(TaketurnsError):
    """A tenant was to be created that is there already; nothing was changed.

    Attributes:
        tenant: the tenant.
    """

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        super().__init__(tenant)

    def __str__(self) -> str:
        return f"there is a tenant {self.tenant!r} already: change its settings, or choose another name"


class TenantInUse(TaketurnsError):
    """A tenant's queue holds something or is in use, so nothing was removed.

    Attributes:
        tenant: the tenant.
        reason: what keeps the queue.
    """

    def __init__(self, tenant: str, reason: str) -> None:
        self.tenant = tenant
        self.reason = reason
        super().__init__(tenant, reason)

    def __str__(self) -> str:
        return f"nothing of tenant {self.tenant!r} was removed, since its queue is not empty or in use: {self.reason}"


class UnknownSchedule(TaketurnsError, LookupError):
    """A tenant has no schedule of that name.

    Attributes:
        tenant: the tenant.
        name: the name.
    """

    def __init__(self, tenant: str, name: str) -> None:
        self.tenant = tenant
        self.name = name
        super().__init__(tenant, name)

    def __str__(self) -> str:
        return f"tenant {self.tenant!r} has no schedule {self.name!r}"


class ScheduleExists(TaketurnsError):
    """A schedule was to be created that is there already; nothing was changed.

    Attributes:
        tenant: the tenant.
        name: the schedule's name.
    """

    def __init__(self, tenant: str, name: str) -> None:
        self.tenant = tenant
        self.name = name
        super().__init__(tenant, name)

    def __str__(self) -> str:
        return f"tenant {self.tenant!r} has a schedule {self.name!r} already: change that, or choose another name"


class TooManySchedules(TaketurnsError):
    """A tenant has as many schedules as it may; nothing was created.

    Attributes:
        tenant: the tenant.
        most: how many it may have.
    """

    def __init__(self, tenant: str, most: int) -> None:
        self.tenant = tenant
        self.most = most
        super().__init__(tenant, most)

    def __str__(self) -> str:
        return (
            f"tenant {self.tenant!r} may have {self.most} schedules, and has as many: remove one, or have an "
            f"operator raise TAKETURNS_SCHEDULES_PER_TENANT"
        )


class WrongArguments(TaketurnsError, TypeError):
    """A task's function does not take the arguments that were submitted; to run it again would not help."""


class DependencyFailed(TaketurnsError):
    """A task was not run, since one that it depends on has not succeeded; the message says which, and why."""


class CrashLoop(TaketurnsError):
    """Whatever started the task died each time: its worker, or the process of it that ran the task."""


class DeadLettersBusy(TaketurnsError):
    """Somebody else is looking through the dead letters; only one can at a time."""


class StillInCanary(TaketurnsError):
    """Publishers still send tasks into the tenant queues that are to be emptied; nothing was moved.

    Attributes:
        who: the tenants, in words.
    """

    def __init__(self, who: str) -> None:
        self.who = who
        super().__init__(who)

    def __str__(self) -> str:
        return (
            f"tasks still go into tenant queues, for in the canary: {self.who}; take them out first, everybody by "
            f"`taketurns canary --percent 0 --tenants none`, some by `--excluded`"
        )


class NoSuchQueue(TaketurnsError, LookupError):
    """The old queue does not exist; what was to go there, or to come from there, is where it was.

    Attributes:
        queue: its name.
    """

    def __init__(self, queue: str) -> None:
        self.queue = queue
        super().__init__(queue)

    def __str__(self) -> str:
        return f"there is no queue {self.queue!r}: start a worker that consumes it, or name another one"


class BacklogFull(TaketurnsError):
    """As many tasks of a tenant wait as may wait; nothing was submitted.

    Attributes:
        tenant: the tenant.
        backlog: how many of its tasks wait in its queue.
        max_backlog: how many may.
        retry_after: seconds after which it is worth another try.
        more: how many were to be submitted together.
    """

    def __init__(
        self, tenant: str, backlog: int, max_backlog: int, retry_after: float, more: int = 1
    ) -> None:
        self.tenant = tenant
        self.backlog = backlog
        self.max_backlog = max_backlog
        self.retry_after = retry_after
        self.more = more
        super().__init__(tenant, backlog, max_backlog, retry_after, more)

    def __str__(self) -> str:
        if self.more > self.max_backlog:
            return (
                f"{self.more} tasks were to be submitted together and tenant {self.tenant!r} has a max_backlog of "
                f"{self.max_backlog}, so nothing was submitted; submit less at a time, or have an operator raise it"
            )
        return (
            f"{self.backlog} tasks of tenant {self.tenant!r} wait and its max_backlog is {self.max_backlog}, so "
            f"nothing was submitted; try again in {self.retry_after:.3g} s, or have an operator raise it"
        )


class InvalidBatch(TaketurnsError, ValueError):
    """Some of several tasks can't be submitted, so none was.

    Attributes:
        errors: what is wrong, by the places of these tasks, which are counted from 0.
    """

    def __init__(self, errors: Mapping[int, Exception]) -> None:
        self.errors = dict(sorted(errors.items()))
        super().__init__(self.errors)

    def __str__(self) -> str:
        place, first = next(iter(self.errors.items()))
        several = f"{len(self.errors)} of the tasks can't be submitted, so none was"
        return f"{several}; the first of them, counted from 0, is {place}: {first}"


class KeyConflict(InvalidInput):
    """The idempotency key was used for another request: another task, or other arguments."""

    field = "idempotency_key"

    def __init__(self, key: str) -> None:
        super().__init__(
            key, "a key of its own for each task and its arguments; this one was used for another"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.value,))


class KeyInUse(TaketurnsError):
    """Another request with the same idempotency key is under way, and takes long; nothing was submitted.

    Attributes:
        key: the key.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(key)

    def __str__(self) -> str:
        return f"a request with the idempotency key {self.key!r} is under way: try again, to have its answer"


class BrokerUnavailable(TaketurnsError, OperationalError, ConnectionError):
    """RabbitMQ could not be reached, or did not answer in time; nothing was accepted.

    It is kombu's OperationalError as well, which is what Celery raises and catches when a publish fails.
    """


class BrokerRefused(BrokerUnavailable):
    """RabbitMQ is there, and does not let its user do that; nothing was accepted.

    Attributes:
        user: the user of the connection.
        problem: what the user may not do, such as ``may not configure queue 'usersequence_acme'``.
        advice: what to do.
    """

    def __init__(self, user: str | None, problem: str, advice: str) -> None:
        self.user = user
        self.problem = problem
        self.advice = advice
        super().__init__(user, problem, advice)

    def __str__(self) -> str:
        return f"RabbitMQ's user {self.user!r} {self.problem}; {self.advice}"


class PublishNotConfirmed(BrokerUnavailable):
    """The broker did not confirm the message within the timeout, or refused or returned it.

    The message may have been stored all the same (a confirm that came too late), so a repeat may run the task
    twice; it will not have been lost silently.
    """


class ManagementUnavailable(TaketurnsError, ConnectionError):
    """RabbitMQ's management API could not be reached, or refused the credentials."""


class RegistryUnavailable(TaketurnsError, ConnectionError):
    """Redis could not be reached, or did not answer in time."""


class RegistryRefused(RegistryUnavailable):
    """Redis answered one call with an error that is about this call alone; others go on."""


class LockNotHeld(TaketurnsError):
    """A lock of a tenant's is not held, or no longer.

    Attributes:
        tenant: whose lock it is.
        name: its name.
    """

    def __init__(self, tenant: str, name: str) -> None:
        self.tenant = tenant
        self.name = name
        super().__init__(tenant, name)

    def __str__(self) -> str:
        return f"the lock {self.name!r} of tenant {self.tenant!r} is not held"


class LockTaken(LockNotHeld):
    """Somebody else has the lock, for longer than it was waited for."""

    def __str__(self) -> str:
        return f"somebody else has the lock {self.name!r} of tenant {self.tenant!r}; wait for longer, or try again"


class LockLost(LockNotHeld):
    """A lock was lost while it was held, or it is not sure that it was not: somebody else may have had it too."""

    def __str__(self) -> str:
        return (
            f"the lock {self.name!r} of tenant {self.tenant!r} was lost while it was held: it could not be renewed, "
            f"or Redis has lost it, so somebody else may have had it too"
        )


class UnsupportedPool(TaketurnsError):
    """The worker's pool can't serve tenants; prefork, threads and solo can."""


class TaskAborted(TaketurnsError):
    """A task's body ended by an exception that would have ended its worker (MemoryError, SystemExit)."""
