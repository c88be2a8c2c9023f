"""AMQP channels for tenant queues, on the worker's own connection. Nothing here ever blocks.

py-amqp waits for the broker's answer to most methods and reopens a channel that the broker closed as the *same*
object, with delivery tags from 1 again, so that an old acknowledgement would delete somebody else's message. Here
every method is sent without waiting (all those of a loop pass in one write), answers are listened for, and a
closed channel stays closed.

At most one fetch is under way on a channel, and none while a message of it is unsettled: a queue that turns out to
be missing (404) closes its channel, and with it must not go the message of a running task.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from amqp import spec
from amqp.exceptions import RecoverableConnectionError
from celery.utils.log import get_logger
from kombu.transport import pyamqp

from taketurns.worker.messages import TenantMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from taketurns.worker.pool import ChannelPool

logger = get_logger(__name__)

_SUBSCRIPTIONS = (
    256  # subscriptions of one channel at most: so many are made again when one of them closes it
)
_LONG = 5.0  # seconds after which a message that is not settled may be that of a long task


class TenantChannel(pyamqp.Channel):
    """One channel; see the module's docstring."""

    def __init__(self, pool: ChannelPool) -> None:
        self.pool = pool
        self.listener = pool.listener
        self.usable = True
        self.tags: dict[str, str] = {}
        """Queues listened to here, by consumer tag."""
        self.subscribing: deque[str] = deque()
        """Tags whose consume is not answered yet, in the order sent."""
        self.cancelling: dict[str, str] = {}
        self.fetching: str | None = None
        self.expected = 0
        """Messages of the fetch that have not come."""
        self.batch = ""
        """The tag of the consumer by which a batch is fetched."""
        self.credit = 1
        self.early: list[tuple[str, TenantMessage]] = []
        """Deliveries that came while another consume was unanswered, and so might still close the channel."""
        self.unsettled: dict[TenantMessage, None] = {}
        """The oldest first."""
        super().__init__(pool.connection)
        self.send_method(spec.Channel.Open, "s", ("",))
        self.is_open = True
        self._give_credit(1)

    def _setup_listeners(self) -> None:
        super()._setup_listeners()
        self._callbacks.update(
            {
                spec.Basic.ConsumeOk: self._on_consume_ok,
                spec.Basic.CancelOk: self._on_cancel_ok,
                spec.Basic.GetOk: self._on_get_ok_listener,
                spec.Basic.GetEmpty: self._on_get_empty_listener,
                spec.Basic.QosOk: _ignore,
            }
        )

    @property
    def may_fetch(self) -> bool:
        """Whether the broker may close this channel without harm to anything: a fetch may do that."""
        return self.usable and not (self.unsettled or self.fetching or self.tags or self.cancelling)

    @property
    def may_listen(self) -> bool:
        """Whether one more subscription fits here, and may close the channel without harm to any message."""
        return self.usable and len(self.tags) < _SUBSCRIPTIONS and not (self.unsettled or self.early)

    @property
    def may_end(self) -> bool:
        """Whether the broker may close this channel before a message that comes now is done with.

        It does so when a message is unsettled for longer than its ``consumer_timeout``.
        """
        oldest = next(iter(self.unsettled), None)
        return oldest is not None and monotonic() - oldest.came_at > _LONG

    # ---- sending

    def fetch(self, queue: str) -> None:
        """Ask for one message of the queue."""
        self.fetching, self.expected = queue, 1
        self.send_method(spec.Basic.Get, "Bsb", (0, queue, False))

    def fetch_batch(self, queue: str, count: int, tag: str) -> None:
        """Ask for so many messages at once: by a consumer with that credit, cancelled when it is confirmed.

        The broker delivers what is there as soon as it has the consumer. The cancel leaves before any of it can be
        acknowledged, so no more than the credit is ever delivered; the broker's cancel-ok ends the batch.
        """
        self.fetching, self.expected, self.batch = queue, count, tag
        if self.credit != count:
            self._give_credit(count)
        self._consume(queue, tag, self._on_batch_cancelled)

    def listen(self, queue: str, tag: str) -> None:
        """Subscribe to the queue with a credit of one. Several may be sent before the first is answered."""
        self.tags[tag] = queue
        self._consume(queue, tag, self._on_server_cancel)

    def unlisten(self, tag: str) -> None:
        """Cancel a subscription; what is on its way still arrives, until the broker's cancel-ok.

        The cancel waits for the consume-ok: one that overtakes it crashes the channel of RabbitMQ 3.10 and with it
        the connection (541 INTERNAL_ERROR), and 4.3 then never sends the consume-ok.
        """
        self.cancelling[tag] = self.tags.pop(tag)
        if tag not in self.subscribing:
            self._cancel(tag)

    def _consume(self, queue: str, tag: str, on_cancel: Callable[[str], None]) -> None:
        self.callbacks[tag] = self._on_message
        # Without an on_cancel py-amqp raises ConsumerCancelled, which Celery takes for a lost connection.
        self.cancel_callbacks[tag] = on_cancel
        self.subscribing.append(tag)
        self.send_method(spec.Basic.Consume, "BssbbbbF", (0, queue, tag, False, False, False, False, {}))

    def _give_credit(self, credit: int) -> None:
        """Set the credit of each consumer that is made here from now on."""
        self.credit = credit
        self.send_method(spec.Basic.Qos, "lBb", (0, credit, False))

    def _cancel(self, tag: str) -> None:
        self.send_method(spec.Basic.Cancel, "sb", (tag, False))

    def settled(self, message: TenantMessage) -> None:
        """Note that a message of this channel is done with."""
        self.unsettled.pop(message, None)
        self.listener.on_settled(message)
        self.pool.returned(self)

    # ---- answers

    def _on_get_ok_listener(self, *answer: Any) -> None:
        *_, remaining, raw = answer
        self._on_get_ok(*answer)  # py-amqp's own part: it makes the raw message's delivery_info
        queue = self._fetched()
        message = TenantMessage(raw, self, queue)
        self.unsettled[message] = None
        self.listener.on_fetched(queue, message, remaining)

    def _on_get_empty_listener(self, *_: object) -> None:
        queue = self._fetched()
        self.pool.returned(self)
        self.listener.on_fetch_empty(queue, 1)

    def _fetched(self) -> str:
        """Note that the fetch is answered, and return its queue."""
        queue, self.fetching = self.fetching, None
        assert queue is not None  # nothing is answered that was not asked
        self.expected, self.batch = 0, ""
        return queue

    def _on_consume_ok(self, tag: str) -> None:
        self._subscribed(tag)
        if tag in self.cancelling or tag == self.batch:
            self._cancel(tag)

    def _subscribed(self, tag: str) -> None:
        """Note that a consume is decided; after the last one under way what came early can be trusted."""
        if tag in self.subscribing:
            self.subscribing.remove(tag)
        if not self.subscribing:
            early, self.early = self.early, []
            for each in early:
                self._tell(*each)

    def _on_message(self, raw: Any) -> None:
        tag = raw.delivery_info["consumer_tag"]
        if tag == self.batch:
            queue = self.fetching or ""
            self.expected -= 1
        else:
            queue = self.tags.get(tag) or self.cancelling[tag]
        message = TenantMessage(raw, self, queue)
        self.unsettled[message] = None
        if self.subscribing:
            self.early.append((queue, message))
        else:
            self._tell(queue, message)

    def _tell(self, queue: str, message: TenantMessage) -> None:
        if self.batch:
            self.listener.on_fetched(queue, message, None)
        else:
            self.listener.on_delivered(queue, message)

    def _on_cancel_ok(self, tag: str) -> None:
        self._on_basic_cancel_ok(tag)
        if tag == self.batch:
            self._end_batch(self.listener.on_fetch_empty)
            return
        queue = self.cancelling.pop(tag, None)
        if queue is not None:
            self.listener.on_cancelled(queue)

    def _on_server_cancel(self, tag: str) -> None:
        self._subscribed(tag)
        queue = self.tags.pop(tag, None)
        if queue is not None:
            self.listener.on_unlistened(queue)
        elif (cancelled := self.cancelling.pop(tag, None)) is not None:
            self.listener.on_cancelled(cancelled)  # the broker was quicker

    def _on_batch_cancelled(self, tag: str) -> None:
        """The queue was deleted before the batch ended."""
        self._subscribed(tag)
        self._end_batch(self.listener.on_fetch_lost)

    def _end_batch(self, tell: Callable[[str, int], None]) -> None:
        missing = self.expected
        queue = self._fetched()
        self.pool.returned(self)
        if missing:
            tell(queue, missing)

    # ---- the end of a channel

    def _on_close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> None:
        """Answer the broker's Channel.Close and give up the channel: neither reopen it nor raise."""
        self.send_method(spec.Channel.CloseOk)
        blamed = None
        unsettled = len(self.unsettled)
        if (class_id, method_id) == spec.Basic.Get:
            blamed = self.fetching
        elif (class_id, method_id) == spec.Basic.Consume and self.subscribing:
            blamed = self.fetching or self._refused(reply_text)
        self._abandon(blamed)
        if blamed is not None:
            self.listener.on_refused(blamed, reply_code, reply_text)
        else:
            logger.warning(
                "RabbitMQ closed a channel and took %d messages back; those whose tasks run will run again: %s",
                unsettled,
                reply_text,
            )

    def _refused(self, reply_text: str) -> str | None:
        """Return the queue whose consume closed the channel.

        The order tells nothing: the broker's channel passes on a queue's consume-ok only after the methods that
        already wait for it, so the first unanswered consume may have succeeded. But the text names the queue.
        """
        undecided = [self.tags.get(tag) or self.cancelling[tag] for tag in self.subscribing]
        return next((queue for queue in undecided if f"'{queue}'" in reply_text), undecided[0])

    def _abandon(self, blamed: str | None) -> None:
        """Give up the channel and tell what ended with it; a queue that is to blame is told apart."""
        self.usable = self.is_open = False
        self.pool.closed(self)
        for message in tuple(self.unsettled):
            self.listener.on_vanished(message)
        for tag in tuple(self.cancelling):
            self.listener.on_cancelled(self.cancelling.pop(tag))
        for tag in tuple(self.tags):
            queue = self.tags.pop(tag)
            if queue != blamed:
                self.listener.on_unlistened(queue)
        if self.fetching is not None and self.expected:
            self.listener.on_fetch_lost(self.fetching, self.expected)
        self.fetching = None
        self.subscribing.clear()
        self.early.clear()

    def send_method(
        self,
        sig: Any,
        format: Any = None,  # noqa: A002  # py-amqp's name
        args: Any = None,
        content: Any = None,
        wait: Any = None,
        callback: Any = None,
        returns_tuple: bool = False,  # noqa: FBT001, FBT002  # py-amqp's signature
    ) -> Any:
        """Put the method into the pool's outbox; nothing that is sent here has content or waits for an answer."""
        if content is not None or wait is not None or callback is not None or returns_tuple:
            raise ValueError(f"method {sig} would block the worker's loop")
        if self.connection is None:
            raise RecoverableConnectionError("connection already closed")
        self.pool.outbox.add(self.channel_id, sig, format, args)

    def collect(self) -> None:
        """Let go of the connection, which is lost or has forgotten this channel."""
        self.usable = False
        super().collect()

    def dispatch_method(self, method_sig: Any, payload: Any, content: Any) -> None:
        """Handle a frame, unless the channel is closed."""
        if self.usable or method_sig == spec.Channel.CloseOk:
            super().dispatch_method(method_sig, payload, content)


def _ignore(*_: object) -> None:
    """Do nothing about an answer that tells nothing."""
