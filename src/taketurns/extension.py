"""TakeTurns: what makes a Celery app serve tenants."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celery import signals

from taketurns import tls
from taketurns.by_name import submit_by_name
from taketurns.deadletters.box import DeadLetters
from taketurns.doctor import Finding, examine
from taketurns.errors import TaketurnsError
from taketurns.explain import Explanation, explain
from taketurns.inheritance import pass_tenant_on
from taketurns.limits.backlog import BacklogCaps
from taketurns.limits.current import CurrentLimits
from taketurns.limits.limiter import Limiter
from taketurns.limits.rate import parse_rate
from taketurns.management import Management
from taketurns.migration.dial import CanaryDial
from taketurns.publisher import Publisher
from taketurns.refresh import refresh_workers
from taketurns.registry import Registry
from taketurns.resolving import Tenancy
from taketurns.settings import Settings
from taketurns.status import SystemStatus, look
from taketurns.store import Store
from taketurns.weights import checked_function

if TYPE_CHECKING:
    from celery import Celery

    from taketurns.resolving import TenantResolver
    from taketurns.weights import WeightFunction

logger = logging.getLogger(__name__)

STOCK_CONSUMER = "celery.worker.consumer:Consumer"
WORKER_CONSUMER = "taketurns.worker.consumer:TenantConsumer"
STOCK_AMQP = "celery.app.amqp:AMQP"
AMQP = "taketurns.transports:AMQP"


class TakeTurns:
    """Installs taketurns in a Celery app: ``TakeTurns(app)``.

    Nothing is connected to and the app's configuration is not read by this; the app may be configured before or
    afterwards. The extension sets the app's ``worker_consumer`` unless the app has one of its own,
    ``control_queue_exclusive``, and ``broker_url`` if the app names no broker; the app's ``send_task`` submits a
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
        backlog: how many tasks of a tenant may wait.

    Raises:
        TaketurnsError: the app has the extension already.
        InvalidSettings: a setting can't be used.
        InvalidInput: ``weight_function`` or ``tenant_resolver`` can't be called.
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
    ) -> None:
        if getattr(app, "taketurns", None) is not None:
            raise TaketurnsError(f"TakeTurns is installed in {app!r} already; call TakeTurns(app) once")
        self.app = app
        self.weight_function = checked_function(weight_function)
        self.tenancy = Tenancy(tenant_resolver, default_tenant)
        self.settings = settings or Settings.load()
        tls.check_files(self.settings.tls)
        self.store = Store(self.settings.redis, self.settings.tls)
        self.registry = Registry(self.store, changed=lambda: refresh_workers(self.registry, self.publisher))
        self.canary = CanaryDial(self.store, self.settings.canary)
        self.limiter = Limiter(self.store, self.settings.limiter)
        default_rate = self.settings.limiter.default_rate_limit
        self.limits = CurrentLimits(self.registry, parse_rate(default_rate) if default_rate else None)
        self.publisher = Publisher(app, self.settings, self.registry)
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
        broker = self.settings.broker
        return Management(
            broker.management_url,
            vhost=self.vhost,
            timeout=broker.management_timeout,
            tls_settings=self.settings.tls,
        )

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """The tasks that failed for good, or can never run; all that is done with them."""
        return DeadLetters(self)

    def explain(self, tenant: str) -> Explanation:
        """Tell why a tenant's next task has not started; see [explain][taketurns.explain.explain] for the errors."""
        return explain(self, tenant)

    def status(self) -> SystemStatus:
        """Return how the whole system is doing: servers, workers, tenants, who is throttled, backlog, oldest wait.

        Never fails: what is away is told. Takes about a second if a worker does not answer, longer if a server does
        not even refuse.
        """
        return look(self)

    def doctor(self) -> list[Finding]:
        """Look at all that taketurns depends on, change nothing, and say what to do; see [Finding][taketurns.doctor].

        Never fails: what is away is told. Takes as long as [status][].
        """
        return examine(self)

    def close(self) -> None:
        """Close the connections of this process; a later use opens new ones."""
        self.publisher.close()
        self.store.close()

    def _configure(self, source: Any, **_: Any) -> None:
        if source.worker_consumer in (STOCK_CONSUMER, WORKER_CONSUMER):
            source.worker_consumer = WORKER_CONSUMER
        else:
            logger.warning("this app has a worker_consumer of its own: its workers will not serve tenants")
        # With Celery's default a half-open connection makes a worker exit that connects again: its control queue
        # still belongs to the old one (405 RESOURCE_LOCKED).
        source.control_queue_exclusive = False
        if not source.broker_url and self.settings.broker.amqp_url:
            source.broker_url = self.settings.broker.amqp_url
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
