"""The schedules as the library offers them; the API and the command line do the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from taketurns.arguments import check_arguments
from taketurns.by_name import tenant_task
from taketurns.errors import UnknownSchedule
from taketurns.schedules.book import ScheduleBook
from taketurns.schedules.schedule import CHANGEABLE, Missed, Priority, Schedule, check_name, plain
from taketurns.tenants import validate_tenant
from taketurns.texts import is_encodable

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

    from taketurns.extension import TakeTurns

ROLE: Final = "beat"
"""The role of the beat that submits; see [lead][taketurns.registry.Registry.lead]."""

_SUBMITTED: Final = {"task", "args", "kwargs"}


class Schedules:
    """Tasks that ``celery beat`` submits for tenants again and again. Thread-safe.

    They are in Redis, and as durable as that: ``FLUSHALL`` removes them all. Every method raises RegistryUnavailable
    while Redis is away.

    Attributes:
        book: keeps them.
    """

    def __init__(self, turns: TakeTurns) -> None:
        self._turns = turns
        self.book = ScheduleBook(turns.store)

    def create(
        self,
        tenant: str,
        name: str,
        task: str,
        *,
        cron: str | None = None,
        every: str | None = None,
        timezone: str | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        missed: Missed = "skip",
        paused: bool = False,
        priority: Priority | None = None,
        expires: float | None = None,
    ) -> Schedule:
        """Create a schedule. It is due for the first time at its next due time; an interval ends for the first time.

        Args:
            tenant: the tenant, which need not be known before.
            name: what the tenant knows it by: 1 to 100 characters of ``A-Z a-z 0-9 . _ -``, the first one a letter or
                digit.
            task: the name of a TenantTask of the app, exposed or not.
            cron: five fields: minute, hour, day of month, month, day of week; what must hold is all of them.
            every: an interval such as ``30s``, ``5m`` or ``1d``, from a second to 366 days; instead of ``cron``.
            timezone: the time zone of ``cron``, such as ``Europe/Berlin``; by default the app's.
            args: the task's positional arguments, as JSON can carry them.
            kwargs: its keyword arguments.
            missed: what becomes of runs that were due while none could be submitted; see
                [Schedule][taketurns.schedules.Schedule].
            paused: whether nothing is submitted before [resume][].
            priority: ``low``, ``normal`` or ``high``; by default the task's own.
            expires: seconds from a run's submission until it is too late to start, 366 days at most; by default as
                the task says, if it does.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
            InvalidInput: another value does not have its accepted form, there is no such task, or the arguments don't
                fit it.
            ScheduleExists: the tenant has one of that name.
            TooManySchedules: it has ``TAKETURNS_SCHEDULES_PER_TENANT`` already.
        """
        given = Schedule(
            tenant=validate_tenant(tenant),
            name=check_name(name),
            task=task,
            cron=cron,
            every=every,
            timezone=timezone,
            args=list(args) if isinstance(args, tuple) else args,  # type: ignore[arg-type]  # checked next
            kwargs={} if kwargs is None else kwargs,  # type: ignore[arg-type]  # checked next
            missed=missed,
            paused=paused,
            priority=priority,
            expires=expires,
        )
        given.check()
        fitting = self._with_fitting(given)
        return self.book.create(
            tenant,
            name,
            lambda now: fitting.begun(now, self._zone),
            most=self._turns.settings.schedules.per_tenant,
        )

    def get(self, tenant: str, name: str) -> Schedule:
        """Return a schedule.

        Raises:
            UnknownSchedule: the tenant has none of that name.
        """
        return self.book.get(tenant, _nameable(tenant, name))

    def list(self, tenant: str | None = None) -> builtins.list[Schedule]:
        """Return the schedules of a tenant, or of all, in the order of tenants and names."""
        return self.book.all() if tenant is None else self.book.of_tenant(tenant)

    def update(self, tenant: str, name: str, **changes: Any) -> Schedule:
        """Change a schedule, and return it.

        With another timing, and when it is paused or resumed, it is due anew from now on.

        Args:
            tenant: the tenant.
            name: its name, which stays.
            **changes: ``task``, ``args``, ``kwargs``, ``cron``, ``every``, ``timezone``, ``missed``, ``paused``,
                ``priority`` or ``expires``. ``cron`` takes the place of ``every``, and the other way round.

        Raises:
            UnknownSchedule: the tenant has none of that name.
            InvalidInput: a value does not have its accepted form, there is no such task, or the arguments don't fit
                it.
            TypeError: there is no such field.
        """
        if unknown := changes.keys() - CHANGEABLE:
            raise TypeError(f"a schedule has no {', '.join(sorted(unknown))} to change")

        def change(before: Schedule, now: float) -> Schedule:
            after = before.changed(changes, now, self._zone)
            return self._with_fitting(after) if changes.keys() & _SUBMITTED else after

        return self.book.edit(tenant, _nameable(tenant, name), change)

    def pause(self, tenant: str, name: str) -> Schedule:
        """Submit nothing any more until [resume][]; what is due meanwhile is not made up for."""
        return self.update(tenant, name, paused=True)

    def resume(self, tenant: str, name: str) -> Schedule:
        """Have it due again, from now on."""
        return self.update(tenant, name, paused=False)

    def remove(self, tenant: str, name: str) -> None:
        """Remove a schedule. Tasks that were submitted run.

        Raises:
            UnknownSchedule: the tenant has none of that name.
        """
        if not self.book.remove(tenant, _nameable(tenant, name)):
            raise UnknownSchedule(tenant, name)

    def beat(self) -> str | None:
        """Return the name of the beat that submits at present; None: there is none, and nothing is submitted."""
        return self._turns.registry.leader(ROLE)

    @property
    def _zone(self) -> tzinfo:
        zone: tzinfo = self._turns.app.timezone
        return zone

    def _with_fitting(self, schedule: Schedule) -> Schedule:
        """Return it with arguments as JSON has them.

        Raises:
            InvalidInput: the app has no such task, or its function does not take them.
        """
        task = tenant_task(self._turns.app, schedule.task)
        args, kwargs = plain(schedule.args, schedule.kwargs)
        check_arguments(task.run, args, kwargs)
        return replace(schedule, args=args, kwargs=kwargs)


def _nameable(tenant: str, name: str) -> str:
    """Return a name that can be looked for.

    Raises:
        UnknownSchedule: it can be nobody's, as UTF-8 can't carry it.
    """
    if not is_encodable(name):
        raise UnknownSchedule(tenant, name)
    return name
