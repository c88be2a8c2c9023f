"""TakeTurns: what makes a Celery app serve tenants."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celery import signals

from taketurns import administration, tls
from taketurns.batch import Batch
from taketurns.by_name import submit_by_name
from taketurns.celerys_command import told_in_one_line
from taketurns.deadletters.box import DeadLetters
from taketurns.dependencies.dependencies import Dependencies
from taketurns.doctor import Finding, examine
from taketurns.errors import InvalidBatch, TaketurnsError
from taketurns.explain import Explanation, explain
from taketurns.idempotency import Keys
from taketurns.inheritance import pass_tenant_on
from taketurns.limits.backlog import BacklogCaps
from taketurns.limits.current import CurrentLimits
from taketurns.limits.limiter import Limiter
from taketurns.limits.rate import parse_rate
from taketurns.live.live import Live
from taketurns.locks.locks import Locks
from taketurns.management import Management
from taketurns.migration.dial import CanaryDial
from taketurns.progress import unheard
from taketurns.publisher import Publisher
from taketurns.purging import purge
from taketurns.records.recorder import Recorder
from taketurns.records.records import Records
from taketurns.refresh import refresh_workers
from taketurns.registry import Registry
from taketurns.resolving import Tenancy
from taketurns.roster import known_tenants
from taketurns.schedules import Schedules
from taketurns.settings import Settings
from taketurns.status import SystemStatus, look
from taketurns.store import Store
from taketurns.tenant_key import TenantKey
from taketurns.tenant_stats import stats
from taketurns.tenant_tasks import TenantTasks
from taketurns.tenants import validate_tenant
from taketurns.weights import checked_function
from taketurns.worker_list import WorkerInfo, list_workers

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from celery import Celery

    from taketurns.batch import Submitted
    from taketurns.limits.limiter import RateStatus
    from taketurns.progress import Step
    from taketurns.purging import Purge
    from taketurns.registry import TenantSettings
    from taketurns.resolving import TenantResolver
    from taketurns.roster import KnownTenant
    from taketurns.task import TenantTask
    from taketurns.tenant_key import TenantFunction
    from taketurns.tenant_stats import TenantStats
    from taketurns.weights import WeightFunction

logger = logging.getLogger(__name__)

STOCK_CONSUMER = "celery.worker.consumer:Consumer"
WORKER_CONSUMER = "taketurns.worker.consumer:TenantConsumer"
STOCK_AMQP = "celery.app.amqp:AMQP"
AMQP = "taketurns.transports:AMQP"
STOCK_SCHEDULER = "celery.beat:PersistentScheduler"
SCHEDULER = "taketurns.schedules.beat:TenantScheduler"


class TakeTurns:
    """Installs taketurns in a Celery app: ``TakeTurns(app)``.

    Nothing is connected to and the app's configuration is not read by this; the app may be configured before or
    afterwards. The extension sets the app's ``worker_consumer`` and ``beat_scheduler`` unless the app has one of its
    own, ``control_queue_exclusive``, ``database_create_tables_at_setup`` unless the app says so itself, and
    ``broker_url`` if the app names no broker; the app's ``send_task`` submits a
    TenantTask as ``apply_async`` does. If the broker's URL is an ``amqps://``, or the result backend's a
    ``rediss://``, and the app says nothing of certificates, those of ``TAKETURNS_TLS_*`` become its
    ``broker_use_ssl`` or ``redis_backend_use_ssl``.

    Args:
        app: the app; it gets the attribute ``taketurns``.
        settings: the settings; by default those of the environment and of the file that it names.
        weight_function: makes a tenant's weight of a [TenantShare][taketurns.weights.TenantShare]; by default the
            weight is the one that an operator has set. What it returns replaces that one, which it is told. Each
            worker calls it in a thread of its main process, about once a second for each tenant that waits or runs
            there, and goes by what it last said; where it raises or returns no weight from 0.000001 to 1000000,
            that is logged once until it works again, and the weights before hold.
        tenant_resolver: tells the tenant of a submission that names none, by the task's name, its args, kwargs and
            headers; None if they don't tell. It is called in the process and thread that submits. See
            [Tenancy][taketurns.resolving.Tenancy] for what comes before it, and after.
        default_tenant: the tenant of what has no other; by default that is an error at the call.
        tenant_key: maps an owner, which is what all of the above call the tenant of a submission, to the tenant whose
            queue, limits and weight its tasks share with others. By default ``TAKETURNS_TENANT_KEY_*`` say that; if
            these are not set, each owner is a tenant. It is called in the process that submits, at every submission,
            and must say the same in all of them. See [tenant_key][taketurns.tenant_key].

    Attributes:
        app: the app.
        settings: the settings.
        weight_function: the team's own weight function, or None.
        tenancy: decides which tenant a submission is for.
        store: the Redis client.
        registry: tenant settings, activity and workers.
        canary: which tenants have queues of their own; everybody, unless that is set.
        limiter: the rate and concurrency limits.
        limits: which limits a task has, at most a second old.
        publisher: confirmed publishing into tenant queues.
        locks: the locks of tenants, and of tasks of which one runs at a time.
        lock: takes a lock of a tenant's: ``with turns.lock("acme", "books"):``; see
            [named][taketurns.locks.locks.Locks.named].
        backlog: how many tasks of a tenant may wait.
        records: what became of tasks.
        recorder: writes down what is submitted.
        keys: the idempotency keys.
        dependencies: which tasks wait for others.

    Raises:
        TaketurnsError: the app has the extension already.
        InvalidSettings: a setting can't be used.
        InvalidInput: ``weight_function``, ``tenant_resolver`` or ``tenant_key`` can't be called.
        InvalidTenant: ``default_tenant`` is no tenant id.
    """

    def __init__(
        self,
        app: Celery,
        settings: Settings | None = None,
        *,
        weight_function: WeightFunction | None = None,
        tenant_resolver: TenantResolver | None = None,
        default_tenant: str | None = None,
        tenant_key: TenantFunction | None = None,
    ) -> None:
        if getattr(app, "taketurns", None) is not None:
            raise TaketurnsError(f"TakeTurns is installed in {app!r} already; call TakeTurns(app) once")
        self.app = app
        self.weight_function = checked_function(weight_function)
        with told_in_one_line():
            self.settings = settings or Settings.load()
            key = self.settings.tenant_key
            self.tenancy = Tenancy(
                tenant_resolver, default_tenant, TenantKey(tenant_key or key.function, shards=key.shards)
            )
            tls.check_files(self.settings.tls)
            self.store = Store(self.settings.redis, self.settings.tls)
        self.registry = Registry(self.store, changed=lambda: refresh_workers(self.registry, self.publisher))
        self.canary = CanaryDial(self.store, self.settings.canary)
        self.limiter = Limiter(self.store, self.settings.limiter)
        self.locks = Locks(self.store, self.settings.limiter.lease)
        self.lock = self.locks.named
        default_rate = self.settings.limiter.default_rate_limit
        self.limits = CurrentLimits(self.registry, parse_rate(default_rate) if default_rate else None)
        self.publisher = Publisher(app, self.settings, self.registry)
        self.records = Records(self.store, self.settings.records)
        self.recorder = Recorder(self.records, enabled=self.settings.records.enabled)
        self.keys = Keys(self.store, self.settings.records.idempotency_window)
        self.dependencies = Dependencies(self)
        self.backlog = BacklogCaps(self.registry, self.publisher, self.settings.limiter)
        app.taketurns = self
        submit_by_name(app)
        if app.amqp_cls == STOCK_AMQP:
            app.amqp_cls = AMQP
        app.on_after_configure.connect(self._configure)
        if app.configured:
            self._configure(source=app.conf)
        signals.before_task_publish.connect(pass_tenant_on, dispatch_uid="taketurns")

    @classmethod
    def of(cls, app: Celery) -> TakeTurns:
        """Return the extension that is installed in an app.

        Raises:
            TaketurnsError: there is none.
        """
        extension = getattr(app, "taketurns", None)
        if not isinstance(extension, cls):
            raise TaketurnsError(f"{app!r} has no tenants: call TakeTurns(app) where the app is created")
        return extension

    @cached_property
    def vhost(self) -> str:
        """The virtual host of the app's broker."""
        return self.app.connection_for_write().virtual_host or "/"

    @cached_property
    def management(self) -> Management:
        """The client of RabbitMQ's management API."""
        return self.open_management(self.settings.broker.management_timeout)

    def open_management(self, timeout: float) -> Management:
        """Return a client of its own of RabbitMQ's management API, which waits for so many seconds."""
        return Management(
            self.settings.broker.management_url,
            vhost=self.vhost,
            timeout=timeout,
            tls_settings=self.settings.tls,
        )

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """The tasks that failed for good, or can never run; all that is done with them."""
        return DeadLetters(self)

    @cached_property
    def tasks(self) -> TenantTasks:
        """What became of tenants' tasks, and their cancellation."""
        return TenantTasks(self)

    @cached_property
    def live(self) -> Live:
        """The events of tasks as they happen, for applications that run in an event loop."""
        return Live(self)

    @cached_property
    def schedules(self) -> Schedules:
        """Tasks that ``celery beat`` submits for tenants again and again."""
        return Schedules(self)

    def tenant_of(self, owner: str) -> str:
        """Return the tenant whose queue, limits and weight an owner's tasks have: the owner, or what it is mapped to.

        Raises:
            InvalidTenant: the owner, or what the app's ``tenant_key`` returned, does not have the accepted form.
            TenantKeyFailed: the app's ``tenant_key`` raised an error.
        """
        return self.tenancy.key.tenant_of(validate_tenant(owner))

    def explain(self, tenant: str) -> Explanation:
        """Tell why a tenant's next task has not started; see [explain][taketurns.explain.explain] for the errors."""
        return explain(self, tenant)

    def status(self) -> SystemStatus:
        """Return how the whole system is doing: servers, workers, tenants, who is throttled, backlog, oldest wait.

        Never fails: what is away is told. Takes about a second if a worker does not answer, longer if a server does
        not even refuse.
        """
        return look(self)

    def workers(self) -> builtins.list[WorkerInfo]:
        """Return the workers that serve tenants, by name, with what each does now; the silent and the lost ones too.

        See [list_workers][taketurns.worker_list.list_workers] for the errors.
        """
        return list_workers(self)

    def doctor(self) -> builtins.list[Finding]:
        """Look at all that taketurns depends on, change nothing, and say what to do; see [Finding][taketurns.doctor].

        Never fails: what is away is told. Takes as long as [status][].
        """
        return examine(self)

    def create(self, tenant: str | None = None, **settings: object) -> str:
        """Create a tenant with its queue, and return its id.

        That is not needed: a tenant's first task creates it too. It is for one that is to be limited, paused or
        tagged from the beginning, and for a batch of tasks that is a tenant of its own for a while.

        Args:
            tenant: its id; by default a new one, ``batch_`` and a UUID.
            **settings: fields of TenantSettings, such as ``rate_limit="5/1m"``, ``weight=2`` or ``paused=True``.

        Raises:
            TenantExists: it has settings already, or a queue that was used.
            InvalidInput: the tenant id or a setting does not have its accepted form.
            TypeError: there is no such setting.
            BrokerUnavailable: the queue could not be declared in time; nothing was created.
            RegistryUnavailable: Redis is away.
        """
        return administration.create(self, tenant, **settings)

    def update(self, tenant: str, **changes: object) -> TenantSettings:
        """Change some of a tenant's settings; see [update][taketurns.registry.Registry.update]."""
        return self.registry.update(tenant, **changes)

    def pause(self, tenant: str) -> TenantSettings:
        """Hold a tenant's tasks back in its queue; what runs, runs on. It need not be known before."""
        return self.registry.update(tenant, paused=True)

    def resume(self, tenant: str) -> TenantSettings:
        """Let a tenant's tasks run again."""
        return self.registry.update(tenant, paused=False)

    def submit_many(
        self,
        tenant: str,
        submissions: Iterable[tuple[TenantTask | str, Sequence[Any], Mapping[str, Any], Mapping[str, Any]]],
    ) -> builtins.list[Submitted]:
        """Submit many tasks for a tenant together, and return when the broker has answered for each.

        ```python
        turns.submit_many("acme", [(thumbnail, ("i-1",), {}, {"priority": "high"}), ("shop.mail", (), {"to": 7}, {})])
        ```

        All of them are checked before the first is submitted. It takes a tenth of the time of as many
        ``apply_async``, since they are confirmed together. The signal ``after_task_publish`` is sent when a task was
        sent, before it is confirmed. Tasks with an ``apply_async`` of their own, with ``pydantic=True`` or
        ``depends_on``, and those of tenants outside of the canary are submitted one by one by it, after the others.

        Args:
            tenant: the tenant.
            submissions: of each task the task or its name, args, kwargs and options, which are some of those of
                ``apply_async``; see [OPTIONS][taketurns.ready.OPTIONS].

        Returns:
            What became of each, in the same order.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
            InvalidBatch: some can't be submitted; none was.
            BacklogFull: not all of them may wait; none was submitted.
            KeyInUse: another submission with an idempotency key of theirs is under way; none was submitted.
            RegistryUnavailable: Redis is away, and there is an idempotency key; none was submitted.
            BrokerUnavailable: the broker is away; none was submitted. What fails later is told of each.
        """
        batch = Batch(self, tenant)
        errors = {}
        for place, row in enumerate(submissions):
            try:
                batch.add_row(row)
            except TaketurnsError as error:
                errors[place] = error
        if errors:
            raise InvalidBatch(errors)
        return batch.submit()

    def stats(self, tenant: str) -> TenantStats:
        """Return how many tasks of a tenant wait, run and have ended; see [stats][taketurns.tenant_stats.stats]."""
        return stats(self, tenant)

    def rate_status(self, tenant: str) -> builtins.list[RateStatus]:
        """Return how a tenant's rates stand: its own, and those of the tasks that this app has; nothing is charged.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
            UnknownTenant: it has neither a queue nor settings.
            ManagementUnavailable: it can't be told whether it has a queue.
            RegistryUnavailable: Redis is away.
        """
        return administration.rate_status(self, tenant)

    def purge(self, tenant: str, *, progress: Callable[[Step], None] = unheard) -> Purge:
        """Throw away the tasks of a tenant that wait; see [purge][taketurns.purging.purge] for what goes on."""
        return purge(self, tenant, progress=progress)

    def remove(self, tenant: str, *, force: bool = False, progress: Callable[[Step], None] = unheard) -> int:
        """Remove a tenant's queue, settings and schedules; it begins anew with its next task.

        Takes up to ten seconds, and some more if there is much to throw away. The queue goes by the steps of the
        reaper, after which no task can be in it or on its way.

        Args:
            tenant: the tenant.
            force: throw away what waits, as [purge][] does; the records of these tasks stay. Running tasks are waited
                for, ``TAKETURNS_REAPER_CONFIRM_TIMEOUT`` seconds at most, and nothing happens if they take longer.
                Delayed tasks and retries, which wait elsewhere, stay: they make a new queue when they are due.
            progress: told how much is thrown away. What it raises ends the removal there.

        Returns:
            How many tasks were thrown away.

        Raises:
            InvalidTenant: the tenant id does not have the accepted form.
            UnknownTenant: it has neither a queue nor settings nor schedules.
            TenantInUse: tasks wait, run or are delayed, somebody else declared or consumes the queue, or a worker
                does not answer.
            ManagementUnavailable: it can't be told what the queue holds.
            BrokerUnavailable: the workers can't be asked what they hold.
            RegistryUnavailable: Redis is away.
        """
        return administration.remove(self, tenant, force=force, progress=progress)

    def list(self, *, tags: Mapping[str, str] | None = None) -> builtins.list[KnownTenant]:
        """Return the tenants that have a queue or settings of their own, in the order of their ids.

        Args:
            tags: leave out the tenants that have not all of these tags with these values.

        Raises:
            ManagementUnavailable: it can't be told which queues there are.
            RegistryUnavailable: Redis is away.
        """
        return known_tenants(self, tags=tags or {})

    def close(self) -> None:
        """Close the connections of this process; a later use opens new ones."""
        self.publisher.close()
        self.store.close()
        if "management" in self.__dict__:
            self.management.close()

    def _configure(self, source: Any, **_: Any) -> None:
        if source.worker_consumer in (STOCK_CONSUMER, WORKER_CONSUMER):
            source.worker_consumer = WORKER_CONSUMER
        else:
            logger.warning("this app has a worker_consumer of its own: its workers will not serve tenants")
        if source.beat_scheduler == STOCK_SCHEDULER:
            source.beat_scheduler = SCHEDULER
        # With Celery's default a half-open connection makes a worker exit that connects again: its control queue
        # still belongs to the old one (405 RESOURCE_LOCKED).
        source.control_queue_exclusive = False
        if not source.broker_url and self.settings.broker.amqp_url:
            source.broker_url = self.settings.broker.amqp_url
        if not source.value_set_for("database_create_tables_at_setup"):
            # Celery would connect when the backend is made: no worker starts then, and no call submits, while the
            # database is away. The tables are created with the first result all the same.
            source.database_create_tables_at_setup = False
        self._configure_tls(source)

    def _configure_tls(self, source: Any) -> None:
        if not source.broker_use_ssl and _is_all_of("amqps", source.broker_read_url, source.broker_write_url):
            source.broker_use_ssl = tls.amqp_options(self.settings.tls)
        if not source.redis_backend_use_ssl and _is_all_of("rediss", source.result_backend):
            source.redis_backend_use_ssl = tls.redis_options(self.settings.tls)


def _is_all_of(scheme: str, *urls: Any) -> bool:
    """Tell whether all of these URLs, each of which may be several or none, have the scheme."""
    several = [each for url in urls if url for each in (url.split(";") if isinstance(url, str) else url)]
    return bool(several) and all(str(each).strip().startswith(f"{scheme}://") for each in several)
