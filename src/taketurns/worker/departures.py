"""Messages that leave the worker without running: published elsewhere first, and let go once that is confirmed."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from celery.utils.log import get_logger

from taketurns import delays
from taketurns.deadletters.burial import buried_now
from taketurns.locks.singleton import SOONEST, WAITING_HEADER, lock_of, waited
from taketurns.running import ADMITTED_HEADER
from taketurns.sending_on import REDELIVERED_HEADER
from taketurns.topology import DEAD_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from taketurns.deadletters.letter import Death
    from taketurns.errors import TaketurnsError
    from taketurns.extension import TakeTurns
    from taketurns.worker.background import Background
    from taketurns.worker.messages import TenantMessage

logger = get_logger(__name__)

_RETRY_PUBLISH = 5.0  # seconds between two attempts to send a message elsewhere


class Departures:
    """Sends messages to the dead letters and onto the delay queues.

    Args:
        turns: the installed extension, for its publisher.
        consumer: Celery's consumer, for its timer.
        background: publishes, which would block the loop.

    Attributes:
        leaving: messages that are being published elsewhere, and are let go once that is confirmed. Each takes a
            slot: were they not bounded, a worker whose tasks all fail would take more than it can send on.
    """

    def __init__(self, turns: TakeTurns, consumer: Any, background: Background) -> None:
        self._turns = turns
        self._consumer = consumer
        self._background = background
        self.leaving: set[TenantMessage] = set()

    def bury(self, message: TenantMessage, death: Death, then: Callable[[], None]) -> None:
        """Publish a message to the dead-letter queue, and then go on."""
        logger.error("message of %s goes to %s: %s", message.queue, DEAD_QUEUE, death.reason)
        headers = buried_now(message.headers, death, queue=message.queue, tenant=message.tenant)
        headers.pop(ADMITTED_HEADER, None)
        self._do(lambda: self._publish(message, headers, "", DEAD_QUEUE), then, message)

    def delay(self, message: TenantMessage, eta: str) -> None:
        """Send a task that has a time through the delay queues, where it costs no worker anything.

        Raises:
            ValueError: it is no time of ISO 8601.
            InvalidInput: it is further away than the delay queues reach.
        """
        seconds = max(delays.moment(eta) - time(), 0.0)
        delays.plan(seconds)

        def publish() -> None:
            exchange, bits = self._turns.publisher.delayed(seconds)
            headers = {**message.headers, "eta": None, delays.ETA_HEADER: eta, **bits}
            self._copy(message, headers, exchange)

        self._do(publish, message.ack, message)

    def put_off(self, message: TenantMessage, task: Any) -> None:
        """Send a task that waits for another one to end through the delay queues: its tenant's others go on."""
        since, soonest = waited(message.headers, time())
        args, kwargs, *_ = message.payload
        lock = lock_of(task, message.owner, args, kwargs)

        def publish() -> None:
            publisher = self._turns.publisher
            seconds = self._turns.limiter.put_offs.spaced(lock.tenant, lock.name, soonest, SOONEST)
            publisher.touch(message.tenant, until=time() + seconds)
            exchange, bits = publisher.delayed(seconds)
            headers = {**delays.without_traces(message.headers), WAITING_HEADER: since, **bits}
            self._copy(message, headers, exchange)

        self._do(publish, message.ack, message)

    def _copy(self, message: TenantMessage, headers: dict[str, Any], exchange: str) -> None:
        """Publish a message that is to come into its queue again."""
        if message.redelivered:
            headers[REDELIVERED_HEADER] = True
        self._publish(message, headers, exchange, message.queue)

    def _publish(self, message: TenantMessage, headers: dict[str, Any], exchange: str, key: str) -> None:
        properties = {**message.properties, "application_headers": headers}
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode()
        self._turns.publisher.publish(body, routing_key=key, exchange=exchange, properties=properties)

    def _do(self, publish: Callable[[], None], then: Callable[[], None], message: TenantMessage) -> None:
        """Publish in the background until it is confirmed, then go on."""
        self.leaving.add(message)

        def again(error: TaketurnsError) -> None:
            if not message.is_ours:
                self.leaving.discard(message)  # the broker has it back, and will deliver it anew
                return
            logger.warning("a message of %s stays here for now: %s", message.queue, error)
            self._consumer.timer.call_after(_RETRY_PUBLISH, self._do, (publish, then, message))

        self._background.submit(publish, lambda _: then(), again)
