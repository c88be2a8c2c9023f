"""TenantTask, the base class of tasks that run for a tenant."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from celery import Task
from celery.backends.redis import RedisBackend
from celery.exceptions import Reject
from celery.utils.time import maybe_iso8601, maybe_make_aware

from taketurns.bound import BoundTask
from taketurns.declared import check_declaration
from taketurns.delays import plan, without_traces
from taketurns.errors import BrokerUnavailable, InvalidInput, InvalidSettings, MissingTenant, TaketurnsError
from taketurns.extension import TakeTurns
from taketurns.inheritance import current_tenant, give_all, give_tenant, was_accepted_before
from taketurns.outcomes import Outcomes
from taketurns.result import TenantResult
from taketurns.retries import RETRY_HEADER, RetryOptions, submitted_options
from taketurns.running import ADMITTED_HEADER, run_body
from taketurns.tenants import TENANT_HEADER, tenant_of, validate_tenant
from taketurns.time_limits import check_time_limits
from taketurns.topology import EXCHANGE, PRIORITIES, tenant_queue

if TYPE_CHECKING:
    from celery import Celery
    from celery.result import AsyncResult as Result

    from taketurns.limits.rate import RateLimit

ETA_HEADER = "taketurns_eta"

# How a message is published is not a caller's choice; a retry passes some of these on from its old message.
_OURS = (
    "connection",
    "declare",
    "delivery_mode",
    "immediate",
    "mandatory",
    "publisher",
    "redelivered",
    "router",
)


class TenantTask(Task):
    """A task that is submitted for a tenant, and goes through this tenant's own queue.

    ```python
    @app.task(base=TenantTask, rate_limit_per_tenant="100/1m")
    def thumbnail(image_id): ...

    thumbnail.apply_async(("i-1",), tenant="acme")
    ```

    A task that is submitted by a running task has the tenant of that one unless another is named. It is
    acknowledged when it has ended, so it runs again if its worker dies; make its effects repeatable.

    Attributes:
        rate_limit_per_tenant: how often it may start for each tenant, such as ``"100/1m"`` or ``"10/60s:5"``.
        expose: True lets it be submitted through the HTTP API.
        retry_for: errors after which it is tried again, ``max_retries`` times (3). The first retry waits for
            ``retry_backoff`` seconds (1), each further one twice as long, none longer than ``retry_backoff_max``
            (600); ``retry_jitter`` (True) makes it a random part of that. Celery's ``autoretry_for`` works too, in
            whole seconds.
    """

    abstract = True
    Request = "taketurns.worker.request:TenantRequest"

    rate_limit_per_tenant: ClassVar[str | None] = None
    expose: ClassVar[bool] = False
    retry_for: ClassVar[tuple[type[Exception], ...]] = ()

    # Said here, so that the app's configuration for its ordinary tasks does not reach the tenants' ones.
    acks_late = True
    reject_on_worker_lost = True
    retry_on_worker_lost = False
    serializer = "json"
    rate_limit = ""
    priority = PRIORITIES["normal"]

    task_rate: ClassVar[RateLimit | None] = None
    """``rate_limit_per_tenant``, read when the task is registered."""

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """Check what the task declares, when it is registered.

        Raises:
            InvalidRate: ``rate_limit_per_tenant`` is not of the accepted form.
            TaketurnsError: an attribute has a value that would break what taketurns promises.
            InvalidSettings: the app uses the old ``task_protocol`` 1.
        """
        super().on_bound(app)
        if app.conf.task_protocol == 1:
            raise InvalidSettings("taketurns needs task_protocol = 2, Celery's default: 1 has no headers")
        if cls.name is not None:
            cls.task_rate = check_declaration(cls)

    @property
    def backend(self) -> Any:
        """The result backend; what can't be recorded there ends neither the task nor its worker."""
        return Outcomes(super().backend)

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    def for_tenant(self, tenant: str) -> BoundTask:
        """Return this task for one tenant, with ``delay``, ``apply_async``, ``s``, ``si`` and ``signature``.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
        """
        return BoundTask(self, validate_tenant(tenant))

    def AsyncResult(self, task_id: str, **kwargs: Any) -> Result:  # noqa: N802  # Celery's name
        """Return the result of a task of this type."""
        return TenantResult(task_id, backend=self.backend, task_name=self.name, app=self._get_app(), **kwargs)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        *,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        tenant: str | None = None,
        **options: Any,
    ) -> Result:
        """Submit the task for a tenant, and return when the broker has confirmed it.

        Takes the options of Celery's own ``apply_async``, but for those that choose another queue.

        Args:
            args: positional arguments of the task.
            kwargs: keyword arguments of the task.
            task_id: the task's id; by default a new one.
            producer: ignored, as the task goes through a producer whose messages are confirmed.
            link: what to run when the task has succeeded.
            link_error: what to run when it has failed.
            shadow: another name for logs.
            tenant: the tenant; by default that of the task that is running.
            **options: ``priority`` is low, normal or high (0, 1, 2); ``countdown`` and ``eta`` wait in the
                broker, 38.7 days at most, and are at most 0.8 % or 0.1 s late; ``expires`` is when it is too late
                to start: the task's state is then REVOKED, and it costs neither a slot nor a token.
                ``max_retries``, ``retry_backoff``, ``retry_backoff_max`` and ``retry_jitter`` are those of this
                submission, instead of the task's.

        Raises:
            MissingTenant: no tenant was named, and no task with a tenant is running.
            InvalidTenant: the tenant id does not have the accepted form.
            InvalidInput: another option does not have the accepted form.
            BacklogFull: as many of the tenant's tasks wait as may. Of a group or chord, some may have been submitted.
                Never raised for a retry, nor for what comes after a task in a chain or as a callback.
            BrokerUnavailable: the broker could not be reached in time; nothing was submitted.
            PublishNotConfirmed: the broker did not confirm the task; it may run all the same.
        """
        headers = without_traces(options.pop("headers", None))
        headers.pop(ADMITTED_HEADER, None)
        tenant = self._tenant(tenant, headers)
        headers[TENANT_HEADER] = tenant
        _refuse_destinations(self.name, options)
        check_time_limits(options)
        if asked := RetryOptions.taken_from(options).header():
            headers[RETRY_HEADER] = asked
        if options.get("serializer", "json") != "json":
            raise InvalidInput(
                options["serializer"], "json, the only serializer of tenant queues", field="serializer"
            )
        for option in ("chain", "chord"):
            if options.get(option):
                give = give_all if option == "chain" else give_tenant
                options[option] = give(options[option], tenant)
        options |= {
            "task_id": task_id,
            "link": give_all(link, tenant) if link else None,
            "link_error": give_all(link_error, tenant) if link_error else None,
            "shadow": shadow,
            "headers": headers,
            "priority": _priority(self.priority if options.get("priority") is None else options["priority"]),
        }
        app = self._get_app()
        if app.conf.task_always_eager:
            return super().apply_async(args, kwargs, producer=producer, **options)
        turns = TakeTurns.of(app)
        with turns.publisher.in_time():
            return self._publish(turns, tenant, args, kwargs, options)

    def apply(self, args: Any = None, kwargs: Any = None, *positional: Any, **options: Any) -> Any:
        """Run the task here and now, for a tenant; takes the options of Celery's own ``apply``.

        Its rate applies: where a worker would put the task off, this waits.

        Raises:
            MissingTenant: no tenant was named, and no task with a tenant is running.
            InvalidTenant: the tenant id does not have the accepted form.
        """
        headers = dict(options.pop("headers", None) or {})
        headers[TENANT_HEADER] = self._tenant(options.pop("tenant", None), headers)
        return super().apply(args, kwargs, *positional, headers=headers, **options)

    def retry(self, *args: Any, **kwargs: Any) -> Any:
        """Submit the task again for later; takes the options of Celery's own ``retry``.

        The ``max_retries`` of the submission comes before all others. Celery drops a task whose retry can't be
        published. Here the message goes back into its queue instead, and this attempt is repeated.
        """
        most = submitted_options(self.request).max_retries
        if most is not None:
            kwargs["max_retries"] = most
        try:
            return super().retry(*args, **kwargs)
        except Reject as error:
            if isinstance(error.reason, BrokerUnavailable):
                raise Reject(error.reason, requeue=True) from error
            raise error.reason from error
        finally:
            with suppress(AttributeError):
                del self.override_max_retries  # Celery keeps it, and would use it for the next message

    def map(self, *_: Any) -> Any:
        """Refused: see the error."""
        raise _no_map(self.name, "map")

    def starmap(self, *_: Any) -> Any:
        """Refused: see the error."""
        raise _no_map(self.name, "starmap")

    def chunks(self, *_: Any) -> Any:
        """Refused: see the error."""
        raise _no_map(self.name, "chunks")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body: as a plain function, or for a worker, and then only once the limits admit it."""
        request = self.request
        if request.called_directly or getattr(request, "taketurns_entered", False):
            return super().__call__(*args, **kwargs)
        request.taketurns_entered = True  # a task that calls itself as a function is not admitted again
        return run_body(self, request, args, kwargs)

    def _tenant(self, named: str | None, headers: dict[str, Any]) -> str:
        tenant = named if named is not None else headers.get(TENANT_HEADER) or current_tenant()
        if tenant is None:
            raise MissingTenant(self.name)
        return validate_tenant(tenant)

    def _publish(
        self, turns: TakeTurns, tenant: str, args: Any, kwargs: Any, options: dict[str, Any]
    ) -> Result:
        publisher = turns.publisher
        due = _due(turns.app, options.pop("countdown", None), options.pop("eta", None))
        name = publisher.ensure(tenant)
        if not was_accepted_before(options):
            turns.backlog.check(tenant, name)
        exchange = EXCHANGE
        # RabbitMQ tells this of the message at the head of a queue: since when the longest waiting one waits.
        options["timestamp"] = int(due.timestamp() if due is not None else time.time())
        if due is not None:
            exchange, bits = publisher.delayed(max(0.0, (due - turns.app.now()).total_seconds()))
            options["headers"] |= {**bits, ETA_HEADER: due.isoformat()}
            publisher.touch(tenant, until=due.timestamp())
        ignored = options.pop("ignore_result", self.ignore_result)
        # Celery would subscribe to the result in Redis before it publishes; while that is away it would publish
        # nothing, after 19 s of trying. Whoever asks for the result subscribes then; a group does so for its tasks.
        unheard = isinstance(turns.app.backend, RedisBackend) and not options.get("group_id")
        options["headers"]["ignore_result"] = ignored
        with publisher.producer() as producer:
            result: Result = super().apply_async(
                args,
                kwargs,
                producer=producer,
                router=_Straight(),
                queue=tenant_queue(tenant),
                exchange=exchange,
                routing_key=name,
                mandatory=True,
                delivery_mode=2,
                declare=[],
                ignore_result=ignored or unheard,
                **options,
            )
        result.ignored = ignored
        return result


class _Straight:
    """A router for Celery's send_task that leaves the options alone: no task_routes for tenant tasks."""

    def route(self, options: dict[str, Any], *_: Any) -> dict[str, Any]:
        return options


def _refuse_destinations(task: str, options: dict[str, Any]) -> None:
    """Take out the destination that ``retry`` passes on from the old message; refuse any other.

    Raises:
        TaketurnsError: a destination was chosen.
    """
    passed_on = "redelivered" in options
    for option in _OURS:
        options.pop(option, None)
    chosen = [options.pop(option, None) for option in ("queue", "exchange", "routing_key")]
    if not passed_on and any(name is not None and tenant_of(str(name)) is None for name in chosen):
        raise TaketurnsError(
            f"task {task!r} goes into its tenant's queue: leave out queue, exchange and routing_key"
        )


def _priority(given: Any) -> int:
    if isinstance(given, str) and given in PRIORITIES:
        return PRIORITIES[given]
    if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
        # An ordinary task may pass a higher one on (task_inherit_parent_priority); the broker would cap it too.
        return min(given, max(PRIORITIES.values()))
    raise InvalidInput(given, f"{', '.join(PRIORITIES)} or 0 to 2", field="priority")


def _due(app: Celery, countdown: float | None, eta: datetime | str | None) -> datetime | None:
    """Return when a task is due, if not at once.

    Raises:
        InvalidInput: that is too far away, or no number and no time.
    """
    now: datetime = app.now()
    if countdown is not None:
        if not isinstance(countdown, int | float):
            raise InvalidInput(countdown, "a number of seconds", field="countdown")
        plan(max(countdown, 0))
        return now + timedelta(seconds=countdown) if countdown > 0 else None
    try:
        due: datetime | None = maybe_make_aware(maybe_iso8601(eta), app.timezone) if eta is not None else None
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(eta, "a datetime, or one in ISO 8601", field="eta") from error
    if due is None or due <= now:
        return None
    plan((due - now).total_seconds())
    return due


def _no_map(task: str, name: str) -> TaketurnsError:
    return TaketurnsError(
        f"{name}() would run {task!r} inside of an ordinary task, without its tenant's queue and limits: "
        f"use group({task.rsplit('.', 1)[-1]}.s(item) for item in items)"
    )
