"""The recoverer: it sends on the tasks that were published for a queue which was not there."""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from amqp.exceptions import FrameSyntaxError, PreconditionFailed

from taketurns.connections import PublishConnection
from taketurns.deadletters.burial import buried_now
from taketurns.deadletters.letter import Death
from taketurns.errors import PublishNotConfirmed, RegistryUnavailable
from taketurns.sending_on import headers_for_copy
from taketurns.tenants import TENANT_HEADER, is_tenant, queue_name, tenant_of
from taketurns.topology import DEAD_QUEUE, LOST_QUEUE, declare_shared, tenant_queue

if TYPE_CHECKING:
    from amqp import Message

    from taketurns.extension import TakeTurns

logger = logging.getLogger(__name__)

_Outcome = Literal["recovered", "dead", "failed", "postponed"]

# Messages of one run at most: they stay unacknowledged until they are sent on, and a stop waits for the run.
BATCH: Final = 500
# A run ends after so many publish timeouts if some message could not be sent on.
PATIENCE: Final = 3


@dataclass(frozen=True)
class RecoverReport:
    """What one run of the recoverer did.

    Attributes:
        recovered: messages that were sent on to their tenant's queue.
        dead: messages of no tenant, which went to the dead-letter queue.
        failed: messages that could not be sent on and are in the lost queue again.
        postponed: messages that went back there because their tenant's queue is being removed just now.
        more: whether messages wait that this run left alone.
    """

    recovered: int = 0
    dead: int = 0
    failed: int = 0
    postponed: int = 0
    more: bool = False


class Recoverer:
    """Sends lost tasks on. For one thread; any number of processes may do it at a time.

    A message is acknowledged only after the broker has confirmed its copy, so a crash between the two runs the
    task twice. A copy whose queue is removed again at that very moment is lost again, and found by the next run.
    """

    def __init__(self, turns: TakeTurns) -> None:
        """Prepare a recoverer for the app of ``turns``; nothing is opened yet."""
        self._publisher = turns.publisher
        self._registry = turns.registry
        self._seconds = turns.settings.broker.publish_timeout
        self._queue_type = turns.settings.broker.queue_type
        self._connection = PublishConnection.of(turns.app)
        self._channel: Any = None
        self._declaring: Any = None
        self._failing = False

    def run_once(self) -> RecoverReport:
        """Send on what is in the lost queue now, up to a bound.

        Raises:
            BrokerUnavailable: RabbitMQ can't be reached; what was not sent on is still in the lost queue.
        """
        with self._connection.ending_on_failure("RabbitMQ can't be asked for lost tasks"):
            report = self._recover()
        if report.recovered or report.dead:
            logger.info(
                "sent %d lost tasks on, and %d messages to %s", report.recovered, report.dead, DEAD_QUEUE
            )
        return report

    def close(self) -> None:
        """Close the connection; the next run opens a new one."""
        self._connection.begin(self._seconds)
        self._connection.release()

    def _recover(self) -> RecoverReport:
        self._connection.begin(self._seconds)
        channel = self._open()
        # What is lost again meanwhile comes behind these: a run never meets its own messages.
        waiting = channel.queue_declare(LOST_QUEUE, passive=True).message_count
        give_up = time.monotonic() + PATIENCE * self._seconds
        existing: set[str] = set()
        done: Counter[str] = Counter()
        back: list[int] = []
        problem: Exception | None = None
        for _ in range(min(waiting, BATCH)):
            self._connection.begin(self._seconds)
            message = channel.basic_get(LOST_QUEUE)
            if message is None:
                break
            try:
                outcome = self._send_on(message, existing)
            except (PublishNotConfirmed, FrameSyntaxError) as error:
                outcome, problem = "failed", error
            done[outcome] += 1
            if outcome in {"recovered", "dead"}:
                channel.basic_ack(message.delivery_tag)
            else:
                back.append(message.delivery_tag)
            if problem is not None and time.monotonic() > give_up:
                break
        for tag in back:
            channel.basic_reject(tag, requeue=True)
        if problem is not None and not self._failing:
            logger.warning("%d lost messages stay in %s for now: %s", done["failed"], LOST_QUEUE, problem)
        self._failing = problem is not None
        return RecoverReport(**done, more=waiting > BATCH and not back)

    def _open(self) -> Any:
        """Return the channel for the lost queue, which exists then."""
        channel = self._connection.default_channel
        if channel is not self._channel:
            channel.auto_decode = False  # a body is to be sent on as the bytes that it is
            declare_shared(channel)
            self._channel = channel
            self._declaring = self._connection.channel()
        return channel

    def _send_on(self, message: Message, existing: set[str]) -> _Outcome:
        tenant = _tenant(message)
        if tenant is None:
            self._bury(message)
            return "dead"
        if tenant not in existing:
            if self._is_draining(tenant):
                return "postponed"
            self._recreate(tenant)
            existing.add(tenant)
        properties = {**message.properties, "application_headers": headers_for_copy(message)}
        self._publisher.publish(message.body, routing_key=queue_name(tenant), properties=properties)
        return "recovered"

    def _is_draining(self, tenant: str) -> bool:
        """Tell whether the tenant's queue is being removed; to open the way into it now would lose messages."""
        try:
            return tenant in self._registry.draining()
        except RegistryUnavailable:
            return False  # without Redis nothing is removed

    def _recreate(self, tenant: str) -> None:
        """Declare the tenant's queue really: what the publisher remembers of it may be the mistake.

        On a channel of its own, since a refusal closes the channel, and that of the lost queue has a message.
        """
        # First of all, since the reaper that has looked at a tenant's activity counts on the way being closed.
        self._publisher.touch(tenant)
        queue = tenant_queue(tenant, self._queue_type)(self._declaring)
        with suppress(
            PreconditionFailed
        ):  # of our other type, or declared otherwise by somebody: used as it is
            queue.queue_declare()
        queue.queue_bind()
        self._publisher.broadcast([tenant])

    def _bury(self, message: Message) -> None:
        routing_key = message.delivery_info["routing_key"]
        headers = buried_now(
            message.properties.get("application_headers", {}),
            Death("unroutable", "lost: its routing key is no tenant queue"),
            queue=routing_key,
            tenant=None,
        )
        properties = {**message.properties, "application_headers": headers}
        self._publisher.publish(message.body, routing_key=DEAD_QUEUE, exchange="", properties=properties)
        logger.error("a message for %r, which is no tenant queue, went to %s", routing_key, DEAD_QUEUE)


def _tenant(message: Message) -> str | None:
    """Return whose task it is: by its routing key, or if that was lost on some detour, by its header."""
    named = message.properties.get("application_headers", {}).get(TENANT_HEADER)
    return tenant_of(message.delivery_info["routing_key"]) or (named if is_tenant(named) else None)
