"""The bootstep that serves tenant queues: what starts with a connection, and what stops with it."""

from __future__ import annotations

import gc
import random
from time import monotonic
from typing import TYPE_CHECKING, Any

from celery import bootsteps
from celery.utils.log import get_logger
from celery.worker.consumer.tasks import Tasks
from kombu.asynchronous import get_event_loop, set_event_loop

from taketurns.errors import RegistryUnavailable
from taketurns.extension import TakeTurns
from taketurns.tenants import queue_name, tenant_of
from taketurns.topology import tenant_queue
from taketurns.worker import control, stopping, winding_down
from taketurns.worker.background import Background, Repeated
from taketurns.worker.cancelled import INTERVAL as CANCELLATIONS_INTERVAL
from taketurns.worker.commands import Park
from taketurns.worker.depending import INTERVAL as DEPENDING_INTERVAL
from taketurns.worker.depending import Depending
from taketurns.worker.discovery import Discovery
from taketurns.worker.dispatcher import Dispatcher
from taketurns.worker.exchange import INTERVAL as EXCHANGE_INTERVAL
from taketurns.worker.exchange import Exchange
from taketurns.worker.fleet import Fleet
from taketurns.worker.gate import Gate
from taketurns.worker.journal import Journal
from taketurns.worker.lateness import INTERVAL as LATENESS_INTERVAL
from taketurns.worker.lateness import Lateness
from taketurns.worker.messages import TenantMessage
from taketurns.worker.ownership import LOWEST
from taketurns.worker.portions import in_portions
from taketurns.worker.task_consumer import TaskConsumer
from taketurns.worker.ticks import put_first
from taketurns.worker.weigher import INTERVAL as WEIGHING_INTERVAL
from taketurns.worker.weigher import Weigher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kombu import Queue

    from taketurns.registry import TenantSettings
    from taketurns.worker.cancelled import Cancelled
    from taketurns.worker.discovery import Found, Rules

logger = get_logger(__name__)

_RULES_INTERVAL = 1.0  # seconds until a change of settings applies although its broadcast was missed
_STRAYS_INTERVAL = 10.0


class TenantQueues(bootsteps.StartStopStep):
    """Serves the tenant queues of one worker."""

    requires = (Tasks,)
    label = "tenant queues"

    def __init__(self, consumer: Any, **options: Any) -> None:
        consumer.tenant_queues = self
        self.lateness = Lateness()
        """The latest that the loop was behind a timer, in seconds, since it was last asked."""
        self._turns = TakeTurns.of(consumer.app)
        self._settings = self._turns.settings.worker
        self._dispatcher: Dispatcher | None = None
        self._stopped: Dispatcher | None = None
        self._gate: Gate | None = None
        self._background: Background | None = None
        self._listing: Background | None = None
        self._releases: Background | None = None
        self._depending: Depending | None = None
        self._journal: Journal | None = None
        self._weigher: Weigher | None = None
        self._discovery = Discovery(self._turns, consumer.hostname)
        self._fleet = Fleet(consumer.hostname, self._settings.max_consumers)
        self._exchange: Exchange | None = None
        self._rules: Mapping[str, TenantSettings] = {}
        self._cancelled: set[str] = set()
        self._drained: dict[str, float] = {}
        """Until when a queue is drained; one that comes to be known only now is not served before."""
        self._timers: list[Any] = []
        self._told = False
        self._jobs: dict[str, Repeated[Any]] = {}
        self._call_later: Callable[[float, Callable[[], None]], object] = consumer.timer.call_after
        super().__init__(consumer, **options)

    def include_if(self, consumer: Any) -> bool:
        """Tell whether this worker serves tenants: see ``TAKETURNS_WORKER_SERVE_TENANTS``."""
        if self._settings.serve_tenants == "auto":
            return consumer.app.amqp.queues._consume_from is None  # noqa: SLF001  # set by -Q, and by nothing else
        return self._settings.serve_tenants == "always"

    @property
    def serving(self) -> bool:
        """Whether tenant queues are served at this moment."""
        return self._dispatcher is not None

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher of the current connection."""
        if self._dispatcher is None:
            raise RuntimeError("the worker is not connected")
        return self._dispatcher

    # ---- the life of a connection

    def start(self, consumer: Any) -> None:
        """Begin to serve on a new connection."""
        control.register()
        stopping.install(consumer)
        if get_event_loop() is None:
            # hub.reset() after a lost connection has cleared it, and with it prefork's flush of acknowledgements.
            set_event_loop(consumer.hub)
        if self._background is None:
            # What has been imported stays: Python's collector need not look through all of it, for 50 ms and
            # more, just while thousands of queues are taken in.
            gc.collect()
            gc.freeze()
            self._background = Background(consumer.hub)
            # By itself: a listing of 10,000 queues takes a second, and a pause is to take effect within one.
            self._listing = Background(consumer.hub, "taketurns queues")
            self._releases = Background(consumer.hub, "taketurns dependencies")
            self._depending = Depending(self._turns.dependencies, consumer.hostname, self._releases.submit)
            if self._turns.settings.records.enabled:
                self._journal = Journal(self._turns.records, consumer.hostname, ended=self._depending.ended)
            self._gate = Gate(
                self._turns,
                consumer,
                self._background,
                consumer.hostname,
                journal=self._journal,
                depending=self._depending,
            )
            self._jobs = self._make_jobs(
                self._background, self._listing, self._gate.cancelled, self._depending
            )
            self._exchange = Exchange(
                self._fleet,
                self._discovery,
                self._background,
                help_with=lambda queue: self.add(queue, backlog=None, rank=None),
                others_own=self._jobs["queues"].anew,
            )
            if (function := self._turns.weight_function) is not None:
                self._weigher = Weigher(
                    function, Background(consumer.hub, "taketurns weights"), self._use_weights
                )
        assert self._gate is not None  # these are made together with the background
        assert self._exchange is not None
        self._gate.forget_lost()
        self._answer_for_tenants(consumer)
        self._dispatcher = Dispatcher(
            consumer,
            self._gate,
            self._settings,
            consumer.connection.connection,
            consumer.restart_count,
            shares=self._weigher.shares if self._weigher is not None else None,
        )
        put_first(consumer.hub, self._dispatcher.tick)
        self._discovery.begin()
        # The settings first: publishers tell of new queues only whom they know to live, and by then it knows who is
        # paused and what is limited.
        self._repeat(consumer, _RULES_INTERVAL, self._jobs["settings"], at_once=True)
        self._repeat(consumer, CANCELLATIONS_INTERVAL, self._jobs["cancellations"], at_once=True)
        self._repeat(consumer, DEPENDING_INTERVAL, self._jobs["dependencies"], at_once=True)
        self._repeat(consumer, self._settings.heartbeat_interval, self._jobs["heartbeat"], at_once=True)
        self._repeat(consumer, self._settings.reconcile_interval, self._jobs["queues"])
        self._background.submit(lambda: None, lambda _: self._jobs["queues"]())  # after these two
        self._repeat(consumer, self._turns.settings.limiter.lease / 3, self._renew_leases)
        self._repeat(consumer, self._settings.heartbeat_interval, self._record_activity)
        self._exchange.dispatcher = self._dispatcher
        self._repeat(consumer, EXCHANGE_INTERVAL, self._exchange)
        if self._weigher is not None:
            self._repeat(consumer, WEIGHING_INTERVAL, self._weigh)
        self._repeat(consumer, _STRAYS_INTERVAL, self._dispatcher.give_back_strays)
        self._repeat(consumer, self._settings.max_held / 4, self._dispatcher.give_back_old)
        self.lateness.begin()
        self._repeat(consumer, LATENESS_INTERVAL, self.lateness.measure)

    def stop(self, consumer: Any) -> None:
        """End serving: after a lost connection at once, else when the running tasks are done."""
        dispatcher, self._dispatcher = self._dispatcher, None
        if self._exchange is not None:
            self._exchange.dispatcher = None
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if dispatcher is None:
            return
        if consumer.connection is None:
            dispatcher.close()
        else:
            winding_down.finish(consumer, dispatcher, self._settings.stop_grace)
            self._stopped = dispatcher  # its channels close last: Celery may still acknowledge on them
        consumer.hub.on_tick.discard(dispatcher.tick)

    def shutdown(self, consumer: Any) -> None:
        """Let go of channels and threads; the worker ends."""
        self.stop(consumer)
        gc.unfreeze()  # the process may be a test's, and go on
        self._say_farewell()  # also if the connection was lost before
        if self._stopped is not None:
            self._stopped.close()
            self._stopped = None
        self._record_the_last()
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        for background in (self._background, self._listing, self._releases):
            if background is not None:
                background.close()
        self._background = self._listing = self._releases = None
        if self._weigher is not None:
            self._weigher.close()
            self._weigher = None

    def keep_waiting(self, request: Any) -> bool:
        """Let an ordinary request wait for its turn, and tell whether it does: those of tenants have had theirs."""
        if self._dispatcher is None or isinstance(request.message, TenantMessage):
            return False
        self._dispatcher.take_ordinary(request)
        return True

    def end_taking(self, consumer: Any) -> None:
        """Take no more tasks; called before Celery has the pool forget those that no process has."""
        if self._dispatcher is None or self._gate is None:
            return
        self._say_farewell()
        winding_down.hand_over(consumer, self._dispatcher, self._gate)

    def _say_farewell(self) -> None:
        try:
            self._discovery.farewell()
        except RegistryUnavailable as error:
            logger.debug("no farewell: %s", error)

    # ---- queues

    def add(self, queue: str, *, backlog: int | None = 0, rank: int | None = 0) -> None:
        """Serve a queue, with what is known of its tenant.

        Args:
            queue: its name.
            backlog: its messages; None is unknown.
            rank: that of this worker among the queue's owners; None: it owns it not, and only helps.
        """
        dispatcher = self.dispatcher
        known = queue in dispatcher.turns
        settings = self._rules.get(tenant_of(queue) or "")
        # Nothing is subscribed to before the end of this loop pass, so the settings come in time.
        dispatcher.add(queue, backlog=backlog, owned=rank is not None)
        dispatcher.turns.set_rank(queue, LOWEST if rank is None else rank)
        if known:
            return
        dispatcher.turns.set_weight(queue, self._weight(queue, settings))
        if settings is not None and settings.paused:
            dispatcher.park([queue], Park.PAUSED)
        if (left := self._drained.get(queue, 0.0) - monotonic()) > 0:
            dispatcher.park([queue], Park.DRAINING, left)

    def add_by_hand(self, queue: str) -> None:
        """Serve a queue because somebody said ``add_consumer``."""
        self._cancelled.discard(queue)
        for owned, rank in self._fleet.ranks([queue]).items():
            self.add(owned, rank=rank)

    def cancel_by_hand(self, queue: str) -> None:
        """Serve a queue no more because somebody said ``cancel_consumer``; it stays so until ``add_consumer``."""
        self._cancelled.add(queue)
        self.dispatcher.remove(queue)

    def drain(self, queues: list[str], seconds: float) -> None:
        """Stop serving queues for so many seconds, or until ``end_drain``, also those not known yet."""
        now = monotonic()
        self._drained = {queue: until for queue, until in self._drained.items() if until > now}
        self._drained.update(dict.fromkeys(queues, now + seconds))
        self.dispatcher.park(queues, Park.DRAINING, seconds)

    def end_drain(self, queues: list[str]) -> None:
        """Serve queues again that were being drained, if they are still there."""
        for queue in queues:
            self._drained.pop(queue, None)
        self.dispatcher.unpark(queues, Park.DRAINING)

    def give_back(self) -> None:
        """Stop taking messages, in a cold shutdown."""
        if self._dispatcher is not None:
            self._dispatcher.give_back_all()

    def listed_queues(self) -> list[Queue]:
        """Return the tenant queues served, as many as the settings allow to be listed."""
        if self._dispatcher is None:
            return []
        names = list(self._dispatcher.turns)[: self._settings.listed_queues]
        queue_type = self._turns.settings.broker.queue_type
        return [tenant_queue(tenant, queue_type) for name in names if (tenant := tenant_of(name)) is not None]

    def cancel(self, ids: Sequence[str], *, terminate: bool) -> dict[str, list[str]]:
        """Start none of these tasks any more.

        Args:
            ids: the tasks.
            terminate: whether to end those that run.

        Returns:
            Which of them have been ``running`` here, and which of those were ``terminated``.
        """
        return (
            self._gate.cancel(ids, terminate=terminate) if self._gate else {"running": [], "terminated": []}
        )

    def depending(self, tenant: str) -> None:
        """Write down the ends of a tenant's tasks before they are acknowledged, as others depend on them."""
        if self._depending is not None:
            self._depending.learn(tenant)

    def refresh(self) -> None:
        """Read the tenants' settings again now."""
        self._jobs["settings"].anew()

    # ---- what comes back from the background

    def _make_jobs(
        self, background: Background, listing: Background, cancelled: Cancelled, depending: Depending
    ) -> dict[str, Repeated[Any]]:
        discovery = self._discovery
        return {
            "heartbeat": Repeated(background, "the sign of life", discovery.sign_of_life, lambda _: None),
            "settings": Repeated(background, "reading tenant settings", discovery.rules, self._apply),
            "cancellations": Repeated(background, "reading cancellations", cancelled.look, cancelled.learn),
            "dependencies": Repeated(background, "reading dependencies", depending.look, depending.add),
            "queues": Repeated(listing, "discovery of tenant queues", discovery.queues, self._serve),
        }

    def _record_activity(self) -> None:
        """Record that tenants had tasks running, so that their idle time begins now, and how these have ended."""
        if self._dispatcher is None or self._background is None or self._gate is None:
            return
        tenants, endings = self._dispatcher.take_active(), self._gate.endings
        ended = endings.take()
        if tenants or ended:
            registry = self._turns.registry
            self._background.submit(
                lambda: registry.worked(tenants, ended),
                failed=lambda _: endings.put_back(ended),  # the store has said that Redis is away
            )

    def _record_the_last(self) -> None:
        if self._gate is not None:
            try:
                self._turns.registry.history.add(self._gate.endings.take())
            except RegistryUnavailable as error:
                logger.debug("the last tasks that ended are not counted: %s", error)

    def _renew_leases(self) -> None:
        if self._gate is not None and self._background is not None and (held := self._gate.throttle.leases()):
            self._background.submit(lambda: self._turns.limiter.renew(held))

    def _serve(self, found: Found) -> None:
        """Serve what was found, some queues at a time: 10,000 at once would keep running tasks waiting."""
        dispatcher = self._dispatcher
        if dispatcher is None:
            return
        self._fleet.learn(found)
        queues = list(found.backlogs.items())
        random.shuffle(queues)  # or all workers would begin with the same ones, and find them empty in turn
        before = len(dispatcher.turns)

        def take(some: Sequence[tuple[str, int | None]]) -> bool:
            if dispatcher is not self._dispatcher:
                return False
            for queue, backlog in some:
                rank = found.ranks.get(queue)
                if queue not in self._cancelled and (rank is not None or queue in dispatcher.turns):
                    self.add(queue, backlog=backlog, rank=rank)
            dispatcher.run()
            return True

        def tell() -> None:
            if (now := len(dispatcher.turns)) > before or not self._told:
                self._told = True
                logger.info("serving %d of %d tenant queues", now, len(found.backlogs))

        in_portions(
            queues,
            take,
            unconfirmed=lambda: dispatcher.subscribing,
            call_later=self._call_later,
            then=tell,
        )

    def _apply(self, rules: Rules | None) -> None:
        """Apply changed settings to the whole backlog."""
        if rules is None or self._dispatcher is None or self._gate is None:
            return
        turns = self._dispatcher.turns
        before, self._rules = self._rules, rules.settings
        self._gate.throttle.use(rules.settings)
        for tenant in {*before, *rules.settings}:
            settings = rules.settings.get(tenant)
            if settings == before.get(tenant):
                continue  # or with each change of anybody's all that are throttled would ask the limiter again
            queue = queue_name(tenant)
            self._gate.throttle.forget(queue)
            self._gate.throttle.count(queue, self._dispatcher.running_of(queue))
            turns.unlimited(queue)  # who is still limited will be refused again, by the new limits
            turns.set_weight(queue, self._weight(queue, settings))
            if settings is not None and settings.paused:
                turns.park(queue, Park.PAUSED)
            else:
                turns.unpark(queue, Park.PAUSED)
        self._dispatcher.run()

    # ---- weights

    def _weight(self, queue: str, settings: TenantSettings | None) -> float:
        configured = settings.weight if settings is not None else 1.0
        return configured if self._weigher is None else self._weigher.weight(queue, configured)

    def _weigh(self) -> None:
        if self._dispatcher is not None and self._weigher is not None:
            self._weigher.ask(self._dispatcher.turns, self._rules, monotonic())

    def _use_weights(self, weights: Mapping[str, float]) -> None:
        if self._dispatcher is not None:
            for queue, weight in weights.items():
                self._dispatcher.turns.set_weight(queue, weight)
            self._dispatcher.run()

    # ---- details

    def _answer_for_tenants(self, consumer: Any) -> None:
        """Replace the task consumer that Celery has just made and not yet used."""
        plain = consumer.task_consumer
        consumer.task_consumer = TaskConsumer(
            plain.channel,
            step=self,
            queues=plain.queues,
            accept=plain.accept,
            on_decode_error=plain.on_decode_error,
            auto_declare=False,  # these are declared already
        )
        consumer.task_consumer.auto_declare = plain.auto_declare  # those to come, by add_consumer, are not

    def _repeat(
        self, consumer: Any, interval: float, job: Callable[[], object], *, at_once: bool = False
    ) -> None:
        if at_once:
            job()
        self._timers.append(consumer.timer.call_repeatedly(interval, job))
