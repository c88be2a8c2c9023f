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
from typing import TYPE_CHECKING, Any, Protocol

from amqp import spec
from amqp.exceptions import RecoverableConnectionError
from kombu.transport import pyamqp

from taketurns.worker.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

_LINGER = 5.0  # seconds that a closed channel stays registered, since frames for it may still be under way
_SUBSCRIPTIONS = (
    256  # subscriptions of one channel at most: so many are made again when one of them closes it
)
_BATCH = 5
"""Messages from which on a consumer is cheaper for the broker than as many ``basic.get``: see docs/worker.md."""

_ACCEPTED = frozenset({"application/json"})


class Listener(Protocol):
    """What the channels tell; all calls come from the worker's loop."""

    def on_delivered(self, queue: str, message: TenantMessage) -> None:
        """A listened queue delivered a message."""

    def on_fetched(self, queue: str, message: TenantMessage, remaining: int | None) -> None:
        """A fetch brought a message; ``remaining`` is what the queue still holds, if the broker said so."""

    def on_unlistened(self, queue: str) -> None:
        """The broker ended a subscription, or the channel of it is gone."""

    def on_cancelled(self, queue: str) -> None:
        """The broker confirmed an ``unlisten``: nothing more comes of that subscription."""

    def on_fetch_empty(self, queue: str, count: int) -> None:
        """So many fetches found the queue empty."""

    def on_fetch_lost(self, queue: str, count: int) -> None:
        """So many fetches will get no answer."""

    def on_refused(self, queue: str, code: int, text: str) -> None:
        """The broker refused to let this queue be fetched from, or listened to, with an AMQP reply code."""

    def on_vanished(self, message: TenantMessage) -> None:
        """The broker took the message back: its channel is gone. Its task, if started, runs on."""

    def on_settling(self, message: TenantMessage) -> None:
        """The message is about to be acknowledged, rejected or requeued."""

    def on_settled(self, message: TenantMessage) -> None:
        """The message was acknowledged, rejected or requeued; called once."""


class TenantMessage(pyamqp.Message):
    """A message of a tenant queue; it reports its settlement, once, however it comes about."""

    def __init__(self, raw: Any, channel: TenantChannel, queue: str) -> None:
        self.queue = queue
        self.redelivered = bool(raw.delivery_info.get("redelivered"))
        super().__init__(raw, channel=channel, accept=_ACCEPTED)

    def ack(self, multiple: bool = False) -> None:  # noqa: FBT001, FBT002  # kombu's signature
        """Acknowledge; nothing is sent if the channel is gone, since the broker then has the message back."""
        self._settle(super().ack, multiple=multiple)

    def reject(self, requeue: bool = False) -> None:  # noqa: FBT001, FBT002  # kombu's signature
        """Reject; with ``requeue`` it goes back to its old place in the queue."""
        self._settle(super().reject, requeue=requeue)

    def requeue(self) -> None:
        """Give the message back; it returns to its old place in the queue."""
        self._settle(super().requeue)

    def _settle(self, send: Callable[..., None], **kwargs: bool) -> None:
        if self.acknowledged:
            return
        channel: TenantChannel = self.channel
        channel.listener.on_settling(self)
        try:
            if channel.usable:
                send(**kwargs)
            else:
                self._state = "REQUEUED"
        finally:
            channel.settled(self)


class TenantChannel(pyamqp.Channel):
    """One channel; see the module's docstring."""

    def __init__(self, pool: ChannelPool) -> None:
        self.pool = pool
        self.listener = pool.listener
        self.usable = True
        self.spare = False
        """Whether it lies among the pool's channels that wait for a fetch."""
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
        self.unsettled: set[TenantMessage] = set()
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
        self.unsettled.discard(message)
        self.listener.on_settled(message)
        self.pool.returned(self)

    # ---- answers

    def _on_get_ok_listener(self, *answer: Any) -> None:
        *_, remaining, raw = answer
        self._on_get_ok(*answer)  # py-amqp's own part: it makes the raw message's delivery_info
        queue = self._fetched()
        message = TenantMessage(raw, self, queue)
        self.unsettled.add(message)
        self.listener.on_fetched(queue, message, remaining)

    def _on_get_empty_listener(self, *_: object) -> None:
        queue = self._fetched()
        self.pool.returned(self)
        self.listener.on_fetch_empty(queue, 1)

    def _fetched(self) -> str:
        """Note that the fetch is answered, and return its queue."""
        queue, self.fetching = self.fetching, None
        assert queue is not None  # noqa: S101  # nothing is answered that was not asked
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
        self.unsettled.add(message)
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
        if (class_id, method_id) == spec.Basic.Get:
            blamed = self.fetching
        elif (class_id, method_id) == spec.Basic.Consume and self.subscribing:
            blamed = self.fetching or self.tags.get(self.subscribing[0])
        self._abandon(blamed)
        if blamed is not None:
            self.listener.on_refused(blamed, reply_code, reply_text)

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


class ChannelPool:
    """The tenant channels of one connection; one is opened whenever none is clean.

    Args:
        connection: the py-amqp connection.
        listener: who is told of everything that arrives.
        generation: goes into the consumer tags, which may not be used twice.
        call_later: schedules a call after so many seconds.
    """

    def __init__(
        self,
        connection: Any,
        listener: Listener,
        *,
        generation: int,
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self.connection = connection
        self.outbox = Outbox(connection)
        self.listener = listener
        self._generation = generation
        self._call_later = call_later
        self._serial = 0
        self._channels: set[TenantChannel] = set()
        self._spare: deque[TenantChannel] = deque()
        self._listening: list[TenantChannel] = []
        self._subscriptions: dict[str, tuple[TenantChannel, str]] = {}

    def __len__(self) -> int:
        return len(self._channels)

    @property
    def listened(self) -> int:
        """How many queues are subscribed to."""
        return len(self._subscriptions)

    def fetch(self, queue: str, count: int = 1) -> None:
        """Ask for messages, on channels that have nothing to lose."""
        if count < _BATCH:
            for _ in range(count):
                self._take_spare().fetch(queue)
        else:
            self._take_spare().fetch_batch(queue, count, self._new_tag())

    def listen(self, queue: str) -> None:
        """Subscribe to the queue with a credit of one."""
        channel = next((each for each in reversed(self._listening) if each.may_listen), None)
        if channel is None:
            channel = self._open()
            self._listening.append(channel)
        tag = self._new_tag()
        self._subscriptions[queue] = (channel, tag)
        channel.listen(queue, tag)

    def unlisten(self, queue: str) -> bool:
        """Cancel the subscription; False if there is none (any more)."""
        channel, tag = self._subscriptions.pop(queue, (None, ""))
        if channel is None or not channel.usable or tag not in channel.tags:
            return False
        channel.unlisten(tag)
        return True

    def returned(self, channel: TenantChannel) -> None:
        """Take a channel back for the next fetch, if it is fit for that."""
        if channel.may_fetch and not channel.spare and channel not in self._listening:
            channel.spare = True
            self._spare.append(channel)

    def closed(self, channel: TenantChannel) -> None:
        """Forget a channel that the broker closed; it stays registered a while, for frames that still come."""
        self._channels.discard(channel)
        if channel in self._listening:
            self._listening.remove(channel)
        for tag, queue in channel.tags.items():
            if self._subscriptions.get(queue) == (channel, tag):
                del self._subscriptions[queue]
        self._call_later(_LINGER, channel.collect)

    def flush(self) -> None:
        """Write what the loop pass has to say; until then nothing of it is sent.

        Raises:
            OSError: the connection is lost.
        """
        self.outbox.flush()

    def close(self) -> None:
        """Close all channels without waiting for the broker's answers."""
        for channel in tuple(self._channels):
            if channel.usable and channel.connection is not None:
                channel.send_method(spec.Channel.Close, "BsBB", (0, "", 0, 0))
            channel.usable = False
        self._channels.clear()
        if self.connection.connected:
            self.flush()

    def _new_tag(self) -> str:
        self._serial += 1
        return f"taketurns.{self._generation}.{self._serial}"

    def _take_spare(self) -> TenantChannel:
        while self._spare:
            channel = self._spare.popleft()
            channel.spare = False
            if channel.may_fetch:
                return channel
        return self._open()

    def _open(self) -> TenantChannel:
        channel = TenantChannel(self)
        self._channels.add(channel)
        return channel
