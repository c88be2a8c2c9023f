"""The gate: where a message that has its turn is admitted to a slot, refused by the limiter, or found poisonous."""

from __future__ import annotations

from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.exceptions import NotRegistered
from celery.utils.log import get_logger
from celery.worker import state
from vine import promise

from taketurns import delays
from taketurns.errors import TaketurnsError
from taketurns.running import ADMITTED_HEADER
from taketurns.task import ETA_HEADER
from taketurns.topology import DEAD_QUEUE
from taketurns.worker.inspection import has_expired, problem_of
from taketurns.worker.throttle import PASSED, Throttle, tenant_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from taketurns.extension import TakeTurns
    from taketurns.worker.background import Background
    from taketurns.worker.messages import TenantMessage
    from taketurns.worker.throttle import Verdict

logger = get_logger(__name__)

_RETRY_PUBLISH = 5.0  # seconds between two attempts to send a message elsewhere


class Gate:
    """Admits messages and hands them to Celery.

    Args:
        turns: the installed extension, for limiter and publisher.
        consumer: Celery's consumer, for its strategies, pool and events.
        background: runs what would block the loop.
        owner: this worker's name, under which it claims tokens.

    Attributes:
        throttle: the limits.
        requests: Celery's request of each message that it has accepted.
    """

    def __init__(self, turns: TakeTurns, consumer: Any, background: Background, owner: str) -> None:
        self._turns = turns
        self._consumer = consumer
        self._background = background
        self.throttle = Throttle(turns, owner)
        self.requests: dict[TenantMessage, Any] = {}

    def start(self, message: TenantMessage, others_wait: Callable[[str], bool]) -> Verdict:
        """Admit the message and hand it to Celery, or put it away; nothing of it is lost in either case.

        Args:
            message: the message that has its turn.
            others_wait: tells whether any other tenant waits for this worker.
        """
        name = message.headers.get("task")
        problem = problem_of(message)
        if problem is not None:
            self._put_away(message, problem, lambda: self._discard(message))
            return PASSED
        task = self._consumer.app.tasks.get(name)
        if task is None:
            error = NotRegistered(name)
            self._put_away(
                message,
                f"unknown task {name!r}",
                lambda: self._consumer.on_unknown_task(None, message, error),
            )
            return PASSED
        if message.headers.get("eta") is not None:
            self._move_to_delay(message)
            return PASSED
        # What is over is not run, so it takes no token: Celery reports and acknowledges it.
        over = has_expired(message, self._consumer.app.timezone) or message.headers["id"] in state.revoked
        verdict = PASSED if over else self.throttle.admit(message, task, others_wait)
        if verdict.admitted:
            self._hand_over(message, name)
        return verdict

    def settled(self, message: TenantMessage) -> bool:
        """Release what the message's admission took; True if the tenant may run another task for it."""
        self.requests.pop(message, None)
        return self.throttle.settled(message)

    def _hand_over(self, message: TenantMessage, name: str) -> None:
        """Do what Celery's own task handler does, and survive what kills that one."""
        consumer = self._consumer
        message.headers[ADMITTED_HEADER] = True
        try:
            consumer.strategies[name](
                message,
                None,
                promise(consumer.call_soon_ack, (message.ack_log_error,)),
                promise(consumer.call_soon_ack, (message.reject_log_error,)),
                [*consumer.on_task_message, lambda request: self.requests.__setitem__(message, request)],
            )
        except Exception as error:  # noqa: BLE001  # whatever a message makes Celery raise must not end the worker
            self._take_slot_back(message)
            reason = f"not a task message: {error!r}"
            self._put_away(message, reason, lambda e=error: self._discard(message, e))  # type: ignore[misc]

    def _take_slot_back(self, message: TenantMessage) -> None:
        """Free the slot that Celery gave to a request before it failed: it would count as taken for ever."""
        request = self.requests.pop(message, None)
        if request is None:
            return
        state.task_ready(request)
        release = getattr(self._consumer.controller, "_quick_release", None)  # of prefork's semaphore
        if release is not None:
            release()

    def _discard(self, message: TenantMessage, error: Exception | None = None) -> None:
        """Let a message go that is in the dead-letter queue by now, and send Celery's signal for it."""
        message.reject_log_error(logger, self._consumer.connection_errors)
        signals.task_rejected.send(sender=self._consumer, message=message, exc=error)

    def _move_to_delay(self, message: TenantMessage) -> None:
        """Send a task that is not due yet through the delay queues, where it costs no worker anything."""
        eta = str(message.headers["eta"])
        try:
            due = datetime.fromisoformat(eta)
            seconds = (due if due.tzinfo else due.replace(tzinfo=UTC)).timestamp() - time()
            delays.plan(max(seconds, 0.0))
        except (ValueError, TaketurnsError) as error:
            reason = f"eta: {error}"
            self._put_away(message, reason, lambda: self._discard(message))
            return

        def publish() -> None:
            exchange, bits = self._turns.publisher.delayed(max(seconds, 0.0))
            headers = {**message.headers, "eta": None, ETA_HEADER: eta, **bits}
            self._publish(message, headers, exchange, message.queue)

        self._do(publish, message.ack, message)

    def _put_away(self, message: TenantMessage, reason: str, then: Callable[[], None]) -> None:
        """Publish a poisonous message to the dead-letter queue; only once that is confirmed, let it go."""
        logger.error("message of %s goes to %s: %s", message.queue, DEAD_QUEUE, reason)
        headers = {
            **message.headers,
            "taketurns_tenant": tenant_by(message.queue),
            "taketurns_queue": message.queue,
            "taketurns_reason": reason,
            "taketurns_dead_at": datetime.now(UTC).isoformat(),
        }
        headers.pop(ADMITTED_HEADER, None)
        self._do(lambda: self._publish(message, headers, "", DEAD_QUEUE), then, message)

    def _publish(self, message: TenantMessage, headers: dict[str, Any], exchange: str, key: str) -> None:
        properties = {**message.properties, "application_headers": headers}
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode()
        self._turns.publisher.publish(body, routing_key=key, exchange=exchange, properties=properties)

    def _do(self, publish: Callable[[], None], then: Callable[[], None], message: TenantMessage) -> None:
        """Publish in the background until it is confirmed, then let the message go."""

        def again(error: TaketurnsError) -> None:
            logger.warning("a message of %s stays here for now: %s", message.queue, error)
            self._consumer.timer.call_after(_RETRY_PUBLISH, self._do, (publish, then, message))

        self._background.submit(publish, lambda _: then(), again)
