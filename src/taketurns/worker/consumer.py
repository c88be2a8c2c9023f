"""Celery's consumer, with tenant queues. ``TakeTurns(app)`` makes it the app's ``worker_consumer``."""

from __future__ import annotations

import random
from functools import partial
from time import sleep
from typing import Any, NoReturn

from amqp.exceptions import AccessRefused, NotAllowed
from celery.exceptions import WorkerShutdown
from celery.platforms import EX_FAILURE
from celery.utils.log import get_logger
from celery.worker.consumer import Consumer

from taketurns.errors import UnsupportedPool
from taketurns.refusals import refused
from taketurns.tenants import tenant_of
from taketurns.worker.replies import reply_at_once
from taketurns.worker.step import TenantQueues
from taketurns.worker.threads import wake_after_each_task

logger = get_logger(__name__)

_RECONNECT_FIRST, _RECONNECT_STEP, _RECONNECT_MOST = 0.2, 0.4, 2.0  # seconds between attempts


class TenantConsumer(Consumer):
    """A consumer that serves tenant queues beside the app's own, which go on as before.

    Raises:
        UnsupportedPool: the pool is gevent or eventlet, or the broker is not RabbitMQ.
    """

    class Blueprint(Consumer.Blueprint):
        """Celery's steps and ours."""

        default_steps = (*Consumer.Blueprint.default_steps, TenantQueues)

    tenant_queues: TenantQueues

    def __init__(self, begin: Any, *args: Any, pool: Any = None, hub: Any = None, **options: Any) -> None:
        if getattr(pool, "is_green", False):
            name = type(pool).__module__.rpartition(".")[2]
            raise UnsupportedPool(
                f"taketurns can't serve tenants on the {name} pool; start the worker with -P prefork, threads or solo"
            )
        if hub is None:
            raise UnsupportedPool("taketurns needs RabbitMQ (an amqp:// broker) and Celery's event loop")
        reply_at_once(options["app"])  # the step that answers is made in here
        wake_after_each_task(pool, hub)
        self.begin = begin
        super().__init__(self._take, *args, pool=pool, hub=hub, **options)

    def start(self) -> None:
        """Consume until the worker stops.

        Raises:
            WorkerShutdown: RabbitMQ refused something that the worker can't do without; the log says what. Celery
                would end it as well, with a traceback in which that has to be found.
        """
        try:
            super().start()
        except AccessRefused as error:
            self._give_up(error)

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        """Connect; after a lost connection the attempts come at short intervals, not at kombu's 2, 4, 6 … s."""
        connection = self.app.connection_for_read(heartbeat=heartbeat)
        connection.ensure_connection = partial(
            connection.ensure_connection,
            # Each worker at its own pace, or after a restart of the broker all would come at once, again and again.
            interval_start=_RECONNECT_FIRST * random.uniform(0.5, 1.5),  # noqa: S311
            interval_step=_RECONNECT_STEP * random.uniform(0.5, 1.5),  # noqa: S311
            interval_max=_RECONNECT_MOST,
        )
        first = self.first_connection_attempt
        try:
            return self.ensure_connected(connection)
        except NotAllowed as error:
            # The vhost is missing or closed to the user; Celery would try that again without end, and without a rest.
            if first:
                self._give_up(error)
            logger.warning("%s", self._refusal(error))
            sleep(_RECONNECT_MOST)
            raise

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Drop the lost connection, and with it the one of the events.

        Celery would close that one in good form, and wait without end for an answer if it is half-open.
        """
        super().on_connection_error_after_connected(exc)
        if self.event_dispatcher is not None and self.event_dispatcher.connection is not None:
            self.event_dispatcher.connection.collect()

    def on_close(self) -> None:
        """Forget what was begun on the connection: it is lost, or the worker stops."""
        if self.connection is not None:
            self.tenant_queues.end_taking(self)
        super().on_close()

    def add_task_queue(self, queue: str, *args: Any, **options: Any) -> None:
        """Start to consume a queue, at run time; a tenant queue gets its turns."""
        if tenant_of(queue) is None:
            super().add_task_queue(queue, *args, **options)
        elif self.tenant_queues.serving:
            self.tenant_queues.add_by_hand(queue)
        else:  # as an ordinary queue it would be declared with other arguments: 406, and the end of the worker
            logger.warning("not consuming %s: this worker does not serve tenants", queue)

    def cancel_task_queue(self, queue: str) -> None:
        """Stop consuming a queue, at run time."""
        if tenant_of(queue) is not None and self.tenant_queues.serving:
            logger.info("Canceling queue %s", queue)
            self.tenant_queues.cancel_by_hand(queue)
        else:
            super().cancel_task_queue(queue)

    def _take(self, request: Any) -> None:
        """Hand a request to the pool, in its turn; called by Celery for tenants' and for ordinary ones."""
        if not self.tenant_queues.keep_waiting(request):
            self.begin(request)

    def _refusal(self, error: BaseException) -> BaseException:
        return refused(error, user=self.app.connection_for_read().userid) or error

    def _give_up(self, error: BaseException) -> NoReturn:
        logger.critical("The worker ends: %s", self._refusal(error))
        raise WorkerShutdown(EX_FAILURE) from error
