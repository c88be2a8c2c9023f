"""TenantTask, the base class of tasks that run for a tenant."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

from celery import Task
from celery.backends.redis import RedisBackend
from celery.exceptions import Reject
from celery.utils import uuid

from taketurns.bound import BoundTask
from taketurns.celerys_own import is_celerys_own, without_tenants
from taketurns.declared import check_declaration
from taketurns.delays import ETA_HEADER, without_traces
from taketurns.dependencies.waiting import checked_parents, nowhere_to_wait
from taketurns.errors import (
    BrokerUnavailable,
    InvalidSettings,
    MissingTenant,
    TaketurnsError,
)
from taketurns.extension import TakeTurns
from taketurns.idempotency import checked_key, fingerprint
from taketurns.inheritance import give_what_follows, goes_on_without_tenant, was_accepted_before
from taketurns.locks.locks import LONGEST
from taketurns.migration.envelopes import tenant_priority
from taketurns.migration.old_way import CAME_BY, destination_of, take_the_old_way
from taketurns.options import DESTINATION, checked_id, due_at, expires_at, priority_of, refuse_destinations
from taketurns.outcomes import Outcomes
from taketurns.records.recorder import SUBMISSION_HEADER, TAGS_HEADER, checked_task_tags, new_submission
from taketurns.result import TenantResult
from taketurns.retries import RETRY_HEADER, RetryOptions, check_retries, submitted_options
from taketurns.running import ADMITTED_HEADER, owner_running, run_body
from taketurns.tenants import tenant_of, validate_tenant
from taketurns.time_limits import check_time_limits
from taketurns.topology import EXCHANGE, PRIORITIES, tenant_queue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from celery import Celery
    from celery.result import AsyncResult as Result
    from kombu import Queue

    from taketurns.dependencies.waiting import Blocked
    from taketurns.limits.rate import RateLimit
    from taketurns.locks.hold import Hold
    from taketurns.locks.singleton import Singleton, WhenBusy
    from taketurns.tenant_key import Whose


class TenantTask(Task):
    """A task that is submitted for a tenant, and goes through this tenant's own queue.

    ```python
    @app.task(base=TenantTask, rate_limit_per_tenant="100/1m")
    def thumbnail(image_id): ...

    thumbnail.apply_async(("i-1",), tenant="acme")
    ```

    A task that is submitted by a running task has the tenant of that one unless another is named, or said by the
    app's ``tenant_resolver``. It is acknowledged when it has ended, so it runs again if its worker dies; make its
    effects repeatable.

    Attributes:
        rate_limit_per_tenant: how often it may start for each tenant, such as ``"100/1m"`` or ``"10/60s:5"``.
        expose: True lets it be submitted through the HTTP API.
        recorded: False keeps no record of its tasks: they are in no list, and nobody is told of their progress.
        retry_for: errors after which it is tried again, ``max_retries`` times (3). The first retry waits for
            ``retry_backoff`` seconds (1), each further one twice as long, none longer than ``retry_backoff_max``
            (600); ``retry_jitter`` (True) makes it a random part of that. Celery's ``autoretry_for`` works too, in
            whole seconds.
        singleton: True lets one task of this name run at a time for each tenant, ``"args"`` one with the same
            arguments, over all workers: by a lock that a thread renews while it runs. While Redis is away none runs.
        singleton_when_busy: what becomes of a second one: ``"wait"`` puts it off, without a slot or a retry, and
            those that wait run in any order; with ``"drop"`` it does not run, and its state is REVOKED.
    """

    abstract = True
    Request = "taketurns.worker.request:TenantRequest"

    rate_limit_per_tenant: ClassVar[str | None] = None
    expose: ClassVar[bool] = False
    recorded: ClassVar[bool] = True
    retry_for: ClassVar[tuple[type[Exception], ...]] = ()
    singleton: ClassVar[Singleton] = False
    singleton_when_busy: ClassVar[WhenBusy] = "wait"

    # Said here, so that the app's configuration for its ordinary tasks does not reach the tenants' ones.
    acks_late = True
    reject_on_worker_lost = True
    retry_on_worker_lost = False
    serializer = "json"
    rate_limit = ""
    priority = PRIORITIES["normal"]

    task_rate: ClassVar[RateLimit | None] = None
    """``rate_limit_per_tenant``, read when the task is registered."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """Make an instance; with ``Celery(task_cls=TenantTask)`` also of Celery's own tasks, which stay ordinary."""
        return super().__new__(without_tenants(cls) if is_celerys_own(cls) else cls)

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
        if cls.name is not None or cls.run is not Task.run:  # no base class of tasks
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

        Takes the options of Celery's own ``apply_async``, but for those that choose another queue. With a tenant
        outside of the canary (``turns.canary``) it goes where an ordinary task would go, and all options mean what
        they mean there: a countdown or eta is waited for in a worker.

        Args:
            args: positional arguments of the task.
            kwargs: keyword arguments of the task.
            task_id: the task's id; by default a new one.
            producer: ignored, as the task goes through a producer whose messages are confirmed.
            link: what to run when the task has succeeded.
            link_error: what to run when it has failed.
            shadow: another name for logs.
            tenant: the tenant; by default what the app's ``tenant_resolver`` says, else that of the task that is
                running, else the app's ``default_tenant``. With a ``tenant_key`` it is the owner, who is mapped to
                the tenant whose queue the task goes to; idempotency keys and dependencies are the owner's.
            **options: ``priority`` is low, normal or high (0, 1, 2); ``countdown`` and ``eta`` wait in the
                broker, 38.7 days at most, and are at most 0.8 % or 0.1 s late; ``expires`` is when it is too late
                to start: the task's state is then REVOKED, and it costs neither a slot nor a token.
                ``max_retries``, ``retry_backoff``, ``retry_backoff_max`` and ``retry_jitter`` are those of this
                submission, instead of the task's. ``tags`` are texts by which the task's record can be found.
                ``idempotency_key``: a second submission of the tenant's with the same key, task and arguments, within
                ``TAKETURNS_RECORDS_IDEMPOTENCY_WINDOW``, submits nothing and returns the first one's result, whose
                ``duplicate`` is True. It is kept in Redis; see [Keys][taketurns.idempotency.Keys] for what may run
                twice all the same.
                ``depends_on`` are the ids of tasks of the same tenant, 100 at most, that must have succeeded before
                this one runs; a countdown begins then. If one does not succeed, this one has failed.

        Raises:
            MissingTenant: no tenant was named, and there is no other by default.
            InvalidTenant: the tenant id does not have the accepted form.
            ResolverFailed: the app's ``tenant_resolver`` raised an error.
            TenantKeyFailed: the app's ``tenant_key`` raised an error.
            InvalidInput: another option does not have the accepted form.
            KeyConflict: the idempotency key was used with another task, or other arguments.
            KeyInUse: another submission with the key is under way, and takes longer than ``publish_timeout``.
            RegistryUnavailable: Redis is away, and there is an idempotency key, or it depends on others; nothing was
                submitted.
            BacklogFull: as many of the tenant's tasks wait as may. Of a group or chord, some may have been submitted.
                Never raised for a retry, nor for what comes after a task in a chain or as a callback.
            BrokerUnavailable: the broker could not be reached in time; nothing was submitted.
            PublishNotConfirmed: the broker did not confirm the task; it may run all the same.
        """
        headers = without_traces(options.pop("headers", None))
        headers.pop(ADMITTED_HEADER, None)
        is_named = tenant is not None
        whose = self._whose_to_submit(tenant, args, kwargs, headers, options)
        came_by = options.pop(CAME_BY, {})
        if task_id is not None:
            checked_id(task_id)
        key = checked_key(options.pop("idempotency_key", None))
        check_time_limits(options)
        check_retries(options)
        if (expires := expires_at(self._get_app(), options.get("expires"))) is not None:
            options["expires"] = expires
        if asked := RetryOptions.taken_from(options).header():
            headers[RETRY_HEADER] = asked
        if tags := checked_task_tags(options.pop("tags", None)):
            headers[TAGS_HEADER] = tags
        parents = checked_parents(options.pop("depends_on", None))
        options |= {
            "task_id": task_id,
            "link": link,
            "link_error": link_error,
            "shadow": shadow,
            "headers": headers,
        }
        if whose is not None:
            options["headers"] = whose.in_headers(headers)
            give_what_follows(options, whose.owner)
        app = self._get_app()
        if app.conf.task_always_eager:
            refuse_destinations(self.name, options)
            options["priority"] = self._priority(options, is_named=is_named)
            return super().apply_async(args, kwargs, producer=producer, **options)
        turns = TakeTurns.of(app)
        if parents:
            options["depends_on"] = parents
        with turns.publisher.in_time():
            if key is None or whose is None:
                return self._submit(turns, whose, came_by, args, kwargs, options, is_named=is_named)
            left = turns.publisher.left()
            with turns.keys.once(
                whose.owner,
                key,
                fingerprint(self.name, *self._plain(args, kwargs)),
                task_id or uuid(),
                wait=left,
                lasting=2 * left,
            ) as claim:
                if not claim.is_duplicate:
                    options["task_id"] = claim.task_id
                    return self._submit(turns, whose, came_by, args, kwargs, options, is_named=is_named)
            first = self.AsyncResult(claim.task_id)
            first.duplicate = True
            return first

    def apply(self, args: Any = None, kwargs: Any = None, *positional: Any, **options: Any) -> Any:
        """Run the task here and now, for a tenant; takes the options of Celery's own ``apply``.

        Its rate applies: where a worker would put the task off, this waits.

        Raises:
            MissingTenant: no tenant was named, and there is no other by default.
            InvalidTenant: the tenant id does not have the accepted form.
            ResolverFailed: the app's ``tenant_resolver`` raised an error.
        """
        headers = dict(options.pop("headers", None) or {})
        whose = self._whose(options.pop("tenant", None), args, kwargs, headers)
        return super().apply(args, kwargs, *positional, headers=whose.in_headers(headers), **options)

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

    def signature_from_request(
        self, request: Any = None, args: Any = None, kwargs: Any = None, queue: Any = None, **options: Any
    ) -> Any:
        """Return Celery's signature of a retry; the queue by which the old message came is no choice of anybody's."""
        signature = super().signature_from_request(request, args, kwargs, queue, **options)
        came_by = {
            option: signature.options.pop(option)
            for option in {*DESTINATION} - {"queue" if queue else "", *options}
            if option in signature.options
        }
        if not queue and came_by:
            signature.options[CAME_BY] = came_by
        return signature

    def progress(self, done: float, total: float | None = None, note: str | None = "") -> None:
        """Tell how far the task is that runs in this thread; called from its body (``bind=True``).

        At most ten times a second are told, and always that all is done. While Redis is away nothing is, and outside
        of a worker neither.

        Args:
            done: what is done, from 0 on.
            total: what there is to do.
            note: what it is at; None is none.

        Raises:
            InvalidInput: a value does not have its accepted form.
        """
        owner = owner_running(self.request)
        if owner is not None and not self.request.called_directly:
            TakeTurns.of(self._get_app()).recorder.progress(self, owner, done, total, note)

    def lock(
        self, name: str, *, ttl: float | None = None, wait: float | None = 0.0, longest: float = LONGEST
    ) -> Hold:
        """Take a lock of the tenant whose task runs: ``with self.lock("invoices") as lock:`` in a bound task.

        With a ``tenant_key`` it is the owner's, and others who share the tenant have their own. The arguments and
        errors are those of [named][taketurns.locks.locks.Locks.named].

        Raises:
            MissingTenant: no task runs, or it is nobody's.
        """
        owner = owner_running(self.request)
        if owner is None:
            raise MissingTenant(self.name)
        return TakeTurns.of(self._get_app()).lock(owner, name, ttl=ttl, wait=wait, longest=longest)

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

    def _whose(self, named: str | None, args: Any, kwargs: Any, headers: dict[str, Any]) -> Whose:
        tenancy = TakeTurns.of(self._get_app()).tenancy
        return tenancy.whose(self.name, args, kwargs, headers, named=named)

    def _whose_to_submit(
        self, named: str | None, args: Any, kwargs: Any, headers: dict[str, Any], options: Mapping[str, Any]
    ) -> Whose | None:
        """Return whose a submission is; None: it has no tenant, as what it goes on with had none.

        Raises:
            MissingTenant: it needs one, and there is none.
            InvalidTenant: the tenant id does not have the accepted form.
            ResolverFailed: the app's ``tenant_resolver`` raised an error.
            TenantKeyFailed: the app's ``tenant_key`` raised an error.
        """
        try:
            return self._whose(named, args, kwargs, headers)
        except MissingTenant:
            if goes_on_without_tenant(options):
                return None
            raise

    def _priority(self, options: Mapping[str, Any], *, is_named: bool) -> int:
        """Return the priority in its tenant's queue.

        A call that names no tenant may be older than taketurns, as a task that was accepted before may be: a higher
        priority of either is the highest that there is.

        Raises:
            InvalidInput: there is no such priority.
        """
        given = options.get("priority")
        is_old = not is_named or was_accepted_before(options)
        return priority_of(self.priority if given is None else given, inherited=is_old)

    @property
    def is_submitted_plainly(self) -> bool:
        """Whether a submission of it is nothing but a message: no ``apply_async`` of a team's own, no models."""
        return type(self).apply_async is TenantTask.apply_async and not self.takes_models

    @property
    def takes_models(self) -> bool:
        """Whether its arguments may be pydantic's models, which Celery dumps when it is submitted."""
        return self._dump_pydantic_arguments is not None

    def _plain(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Return arguments as they go into a message: without pydantic's models, if the task takes some."""
        dump = self._dump_pydantic_arguments
        return (args, kwargs) if dump is None else dump(args or (), kwargs or {})

    def _submit(
        self,
        turns: TakeTurns,
        whose: Whose | None,
        came_by: dict[str, Any],
        args: Any,
        kwargs: Any,
        options: dict[str, Any],
        *,
        is_named: bool,
    ) -> Result:
        parents = options.pop("depends_on", ())
        if whose is None or not turns.canary.has(whose.tenant):
            if parents:
                raise nowhere_to_wait(parents)
            return self._publish_as_ordinary(turns, whose, args, kwargs, {**came_by, **options})
        refuse_destinations(self.name, options)
        if came_by and tenant_of(str(came_by.get("routing_key"))) is None:  # an old queue's message retries
            default = turns.app.conf.task_default_priority
            options["priority"] = tenant_priority(options.get("priority"), default_priority=default)
        else:
            options["priority"] = self._priority(options, is_named=is_named)
        return self._publish(turns, whose, args, kwargs, options, parents)

    def _publish(
        self,
        turns: TakeTurns,
        whose: Whose,
        args: Any,
        kwargs: Any,
        options: dict[str, Any],
        parents: Sequence[str],
    ) -> Result:
        publisher, tenant = turns.publisher, whose.tenant
        countdown = options.pop("countdown", None)
        due = due_at(turns.app, countdown, options.pop("eta", None))
        name = publisher.ensure(tenant)
        if not was_accepted_before(options):
            turns.backlog.check(tenant, name)
        if parents:
            options["task_id"] = options.get("task_id") or uuid()
            if blocked := turns.dependencies.check(whose.owner, options["task_id"], parents):
                if countdown is None and due is not None:
                    options["headers"][ETA_HEADER] = due.isoformat()
                return self._publish_blocked(turns, whose, args, kwargs, options, blocked, countdown)
        exchange = EXCHANGE
        if due is not None:
            exchange, bits = publisher.delayed(max(0.0, (due - turns.app.now()).total_seconds()))
            options["headers"] |= {**bits, ETA_HEADER: due.isoformat()}
            publisher.touch(tenant, until=due.timestamp())
        options |= _straight_into(tenant_queue(tenant), exchange=exchange, routing_key=name)
        with self._recorded(turns, whose, options, due):
            result = self._send(turns, args, kwargs, options, due)
        result.due = due
        return result

    def _publish_blocked(
        self,
        turns: TakeTurns,
        whose: Whose,
        args: Any,
        kwargs: Any,
        options: dict[str, Any],
        blocked: Blocked,
        countdown: float | None,
    ) -> Result:
        """Submit the task into the queue of those that wait for one which it depends on."""
        queue = blocked.queue(whose.owner)
        options["headers"] |= blocked.headers(countdown)
        options |= _straight_into(queue, exchange=queue.exchange.name, routing_key=queue.routing_key)
        with self._recorded(turns, whose, options, None, parents=blocked.parents):
            result = self._send(turns, args, kwargs, options, None, into=queue)
        result.blocked = True
        turns.dependencies.submitted(whose.owner, [blocked])
        return result

    def _publish_as_ordinary(
        self, turns: TakeTurns, whose: Whose | None, args: Any, kwargs: Any, options: dict[str, Any]
    ) -> Result:
        """Submit the task where it would go without taketurns, and confirmed all the same."""
        take_the_old_way(options, priority=self.priority, default=turns.app.conf.task_default_priority)
        if whose is None:
            return self._send(turns, args, kwargs, options, None)
        queue = str(options.get("queue") or destination_of(turns.app, self.name, args, kwargs).name)
        with self._recorded(turns, whose, options, None, queue):
            return self._send(turns, args, kwargs, options, None)

    @contextmanager
    def _recorded(
        self,
        turns: TakeTurns,
        whose: Whose,
        options: dict[str, Any],
        due: datetime | None,
        queue: str | None = None,
        parents: Sequence[str] = (),
    ) -> Iterator[None]:
        """Record what the block submits, unless it is a retry, which its worker records."""
        if options.get("retries") is not None:
            yield
            return
        task_id = options["task_id"] = options.get("task_id") or uuid()
        turns.recorder.submitted(self, whose.owner, options, due, queue or whose.other_queue, parents)
        try:
            yield
        except Exception:
            turns.recorder.not_submitted(self, whose.owner, task_id)
            raise

    def _send(
        self,
        turns: TakeTurns,
        args: Any,
        kwargs: Any,
        options: dict[str, Any],
        due: datetime | None,
        into: Queue | None = None,
    ) -> Result:
        # RabbitMQ tells this of the message at the head of a queue: since when the longest waiting one waits.
        options["timestamp"] = int(due.timestamp() if due is not None else time.time())
        if options.get("retries") is None:
            options["headers"][SUBMISSION_HEADER] = new_submission()
        ignored = options.pop("ignore_result", self.ignore_result)
        # Celery would subscribe to the result in Redis before it publishes; while that is away it would publish
        # nothing, after 19 s of trying. Whoever asks for the result subscribes then; a group does so for its tasks.
        unheard = isinstance(turns.app.backend, RedisBackend) and not options.get("group_id")
        options["headers"]["ignore_result"] = ignored
        with turns.publisher.producer(into) as producer:
            result: Result = super().apply_async(
                args, kwargs, producer=producer, mandatory=True, ignore_result=ignored or unheard, **options
            )
        result.ignored = ignored
        return result


class _Straight:
    """A router for Celery's send_task that leaves the options alone: no task_routes for tenant tasks."""

    def route(self, options: dict[str, Any], *_: Any) -> dict[str, Any]:
        return options


def _straight_into(queue: Queue, *, exchange: str, routing_key: str) -> dict[str, Any]:
    """Return Celery's options for a durable message that goes nowhere else."""
    return {
        "router": _Straight(),
        "queue": queue,
        "exchange": exchange,
        "routing_key": routing_key,
        "delivery_mode": 2,
        "declare": [],
    }


def _no_map(task: str, name: str) -> TaketurnsError:
    return TaketurnsError(
        f"{name}() would run {task!r} inside of an ordinary task, without its tenant's queue and limits: "
        f"use group({task.rsplit('.', 1)[-1]}.s(item) for item in items)"
    )
