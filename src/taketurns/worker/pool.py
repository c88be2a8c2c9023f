"""The pool of tenant channels: which one is fit for the next fetch or subscription."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amqp import spec

from taketurns.worker.channels import TenantChannel
from taketurns.worker.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from taketurns.worker.messages import Listener

_LINGER = 5.0  # seconds that a closed channel stays registered, since frames for it may still be under way
_REMEMBERED = 100_000  # queues whose channels are remembered before that starts afresh


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
        self._spare: dict[TenantChannel, None] = {}
        self._fetched_by: dict[str, TenantChannel] = {}
        """The channel by which each queue was last fetched from."""
        self._listened_by: dict[str, TenantChannel] = {}
        """The one that last had its subscription."""
        self._listening: list[TenantChannel] = []
        self._subscriptions: dict[str, tuple[TenantChannel, str]] = {}

    def __len__(self) -> int:
        return len(self._channels)

    @property
    def listened(self) -> int:
        """How many queues are subscribed to, as the broker has confirmed."""
        return len(self._subscriptions) - self.subscribing

    @property
    def subscribing(self) -> int:
        """How many subscriptions the broker has not confirmed yet."""
        return sum(tag in channel.tags for channel in self._listening for tag in channel.subscribing)

    def fetch(self, queue: str, count: int = 1) -> None:
        """Ask for messages, on a channel that has nothing to lose; on one, since several have no order."""
        channel = self._take_spare(queue)
        _remember(self._fetched_by, queue, channel)
        if count == 1:
            channel.fetch(queue)
        else:
            channel.fetch_batch(queue, count, self._new_tag())

    def listen(self, queue: str) -> None:
        """Subscribe to the queue with a credit of one."""
        channel = self._take_listening(queue)
        _remember(self._listened_by, queue, channel)
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
        if channel.may_fetch and channel not in self._listening:
            self._spare[channel] = None

    def closed(self, channel: TenantChannel) -> None:
        """Forget a channel that the broker closed; it stays registered a while, for frames that still come."""
        self._channels.discard(channel)
        if channel in self._listening:
            self._listening.remove(channel)
        self._spare.pop(channel, None)
        for known in (self._fetched_by, self._listened_by):
            for queue in [queue for queue, each in known.items() if each is channel]:
                del known[queue]
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

    # RabbitMQ keeps statistics of each pair of a channel and a queue for as long as both live, 3.6 kB, and goes
    # through all of them every five seconds. If channels were used in turn each would come to know every queue.

    def _take_spare(self, queue: str) -> TenantChannel:
        channel = self._fetched_by.get(queue)
        if channel is not None and channel in self._spare:
            del self._spare[channel]
            return channel
        return self._spare.popitem()[0] if self._spare else self._open()

    def _take_listening(self, queue: str) -> TenantChannel:
        channel = self._listened_by.get(queue)
        if channel is not None and channel.may_listen:
            return channel
        channel = next((each for each in reversed(self._listening) if each.may_listen), None)
        if channel is None:
            channel = self._open()
            self._listening.append(channel)
        return channel

    def _open(self) -> TenantChannel:
        channel = TenantChannel(self)
        self._channels.add(channel)
        return channel


def _remember(known: dict[str, TenantChannel], queue: str, channel: TenantChannel) -> None:
    if len(known) >= _REMEMBERED:
        known.clear()
    known[queue] = channel
