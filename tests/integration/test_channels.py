"""Tenant channels on a real broker: the protocol's traps."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection

from taketurns.topology import declare_shared, tenant_queue
from taketurns.worker.pool import ChannelPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.servers import Broker
    from taketurns.worker.messages import TenantMessage


class Recorder:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.messages: list[TenantMessage] = []

    def on_delivered(self, queue: str, message: TenantMessage) -> None:
        self.events.append(("delivered", queue))
        self.messages.append(message)

    def on_fetched(self, queue: str, message: TenantMessage, remaining: int | None) -> None:
        self.events.append(("fetched", (queue, remaining)))
        self.messages.append(message)

    def on_fetch_empty(self, queue: str, count: int) -> None:
        self.events.append(("empty", (queue, count)))

    def on_unlistened(self, queue: str) -> None:
        self.events.append(("unlistened", queue))

    def on_cancelled(self, queue: str) -> None:
        self.events.append(("cancelled", queue))

    def on_refused(self, queue: str, code: int, text: str) -> None:
        self.events.append(("refused", (queue, code)))

    def on_fetch_lost(self, queue: str, count: int) -> None:
        self.events.append(("fetch lost", (queue, count)))

    def on_vanished(self, message: TenantMessage) -> None:
        self.events.append(("vanished", message.queue))

    def on_settling(self, message: TenantMessage) -> None:
        self.events.append(("settling", message.queue))

    def on_settled(self, message: TenantMessage) -> None:
        self.events.append(("settled", message.queue))


class Lab:
    """A connection with two tenant queues, a pool of channels, and a clock for what is called later."""

    def __init__(self, connection: Connection) -> None:
        self.recorder = Recorder()
        self.later: list[Callable[[], None]] = []
        self.connection = connection
        self.channel = connection.channel()
        declare_shared(self.channel)
        self.queues = []
        for tenant in ("a", "b"):
            queue = tenant_queue(tenant)(self.channel)
            queue.declare()
            self.queues.append(queue.name)
        self.pool = ChannelPool(
            connection.connection,
            self.recorder,
            generation=1,
            call_later=lambda _, call: self.later.append(call),
        )

    def publish(self, queue: str, count: int = 1) -> None:
        for _ in range(count):
            self.connection.Producer(self.channel).publish("x", exchange="", routing_key=queue)

    def see(self, *wanted: tuple[str, Any], within: float = 10.0) -> None:
        """Read from the connection until every wanted event has been told."""
        self.read(lambda: all(event in self.recorder.events for event in wanted), str(wanted), within)

    def read(self, until: Callable[[], bool], what: str, within: float = 10.0) -> None:
        """Read from the connection until a condition holds."""
        deadline = time.monotonic() + within
        while not until():
            self.pool.flush()
            assert time.monotonic() < deadline, (what, self.recorder.events)
            with suppress(socket.timeout):
                self.connection.drain_events(timeout=0.1)

    def messages(self, queue: str) -> list[TenantMessage]:
        return [message for message in self.recorder.messages if message.queue == queue]

    def count(self, event: str) -> int:
        return sum(kind == event for kind, _ in self.recorder.events)


@pytest.fixture
def lab(broker: Broker) -> Iterator[Lab]:
    with Connection(broker.amqp_url, transport_options={"confirm_publish": True}) as connection:
        connection.connect()
        yield Lab(connection)


def test_a_fetch_tells_what_is_left(lab: Lab) -> None:
    """Each fetch brings one message with the count of the rest, or says that the queue is empty."""
    a, b = lab.queues
    lab.publish(a, 2)
    lab.pool.fetch(a)
    lab.pool.fetch(a)
    lab.pool.fetch(b)
    lab.see(("fetched", (a, 1)), ("fetched", (a, 0)), ("empty", (b, 1)))
    assert len({message.channel for message in lab.recorder.messages}) == 2, "each on a channel of its own"


def test_channels_are_used_again(lab: Lab) -> None:
    """A channel whose message is settled serves the next fetch."""
    a, _ = lab.queues
    lab.publish(a, 10)
    for remaining in range(9, -1, -1):
        lab.pool.fetch(a)
        lab.see(("fetched", (a, remaining)))
        lab.recorder.messages[-1].ack()
    assert len(lab.pool) == 1


def test_a_queue_keeps_to_its_channel(lab: Lab) -> None:
    """RabbitMQ keeps statistics of each pair of a channel and a queue, so there are to be few pairs."""
    for turn in range(4):
        for queue in lab.queues if turn % 2 else reversed(lab.queues):
            lab.publish(queue)
            lab.pool.fetch(queue)
        lab.read(lambda n=2 * turn + 2: len(lab.recorder.messages) == n, "a message of each")  # type: ignore[misc]
        for message in lab.recorder.messages[-2:]:
            message.ack()
    pairs = {(message.queue, message.channel) for message in lab.recorder.messages}
    assert len(lab.pool) == len(pairs) == 2


def test_a_batch_brings_what_is_there_and_no_more(lab: Lab) -> None:
    """A batch ends with the queue's last message or its own count, whatever is acknowledged meanwhile."""
    a, b = lab.queues
    lab.publish(a, 20)
    lab.publish(b, 2)
    lab.pool.fetch(a, 8)
    lab.pool.fetch(b, 8)
    lab.read(lambda: bool(lab.messages(a)), "the first message of a")
    lab.messages(a)[0].ack()
    lab.see(("empty", (b, 6)))
    lab.read(
        lambda: len(lab.messages(a)) == 8, "the whole batch of a"
    )  # the channels have no order among them
    for message in lab.messages(a):
        message.ack()
    lab.pool.fetch(b)
    lab.pool.fetch(a)
    lab.see(("empty", (b, 1)), ("fetched", (a, 11)))


def test_a_batch_from_a_missing_queue_is_lost_alone(lab: Lab) -> None:
    """A batch asked of a queue that is gone tells so, with the count that will not come."""
    a, _ = lab.queues
    lab.publish(a)
    lab.pool.fetch(a)
    lab.see(("fetched", (a, 0)))
    lab.pool.fetch("usersequence_nobody", 8)
    lab.see(("fetch lost", ("usersequence_nobody", 8)), ("refused", ("usersequence_nobody", 404)))
    assert lab.count("vanished") == 0


def test_listening_gives_one_message_at_a_time(lab: Lab) -> None:
    """The credit is one: the second message comes when the first is settled, and nothing after the cancel."""
    a, b = lab.queues
    lab.publish(a, 3)
    lab.pool.listen(a)
    lab.pool.fetch(b)
    lab.see(("delivered", a), ("empty", (b, 1)))
    assert lab.count("delivered") == 1
    lab.recorder.messages[0].ack()
    lab.pool.fetch(b)
    lab.see(("settled", a))
    while lab.count("delivered") < 2:
        lab.pool.flush()
        lab.connection.drain_events(timeout=5)
    assert lab.pool.unlisten(a)
    lab.recorder.messages[1].ack()
    lab.see(("cancelled", a))
    assert lab.count("delivered") == 2
    assert not lab.pool.unlisten(a)


def test_cancelling_at_once_harms_nobody(lab: Lab) -> None:
    """A subscription cancelled before the broker confirmed it ends cleanly, and others on its channel work."""
    a, b = lab.queues
    lab.publish(a)
    lab.publish(b)
    lab.pool.listen(a)
    assert lab.pool.unlisten(a)
    lab.pool.listen(b)
    lab.see(("cancelled", a), ("delivered", b))
    for message in lab.recorder.messages:
        message.requeue()
    lab.pool.flush()
    assert lab.connection.connected


def test_a_missing_queue_closes_no_other_channel(lab: Lab) -> None:
    """A fetch from, or a subscription to, a queue that is gone fails alone: messages of others stay valid."""
    a, b = lab.queues
    lab.publish(a, 2)
    lab.pool.fetch(a)
    lab.pool.listen(b)
    lab.see(("fetched", (a, 1)))
    lab.pool.fetch("usersequence_nobody")
    lab.pool.listen("usersequence_noone")
    lab.see(("refused", ("usersequence_nobody", 404)), ("refused", ("usersequence_noone", 404)))
    assert lab.count("vanished") == 0
    lab.recorder.messages[0].ack()
    lab.pool.fetch(a)
    lab.see(("fetched", (a, 0)))
    assert ("unlistened", b) in lab.recorder.events, "it shared the channel and is to be made again"
    for later in lab.later:
        later()
    assert lab.connection.connected


def test_the_missing_queue_is_blamed_whatever_is_unanswered(lab: Lab) -> None:
    """Of subscriptions sent together only the missing queue's is refused; the others are to be made again."""
    a, b = lab.queues
    for queue in (a, "usersequence_noone", b):
        lab.pool.listen(queue)
    lab.see(("refused", ("usersequence_noone", 404)), ("unlistened", a), ("unlistened", b))
    assert lab.count("refused") == 1
    assert lab.connection.connected


def test_an_acknowledgement_after_the_channels_end_touches_nothing(lab: Lab) -> None:
    """A message whose channel the broker closed is the broker's again; its old acknowledgement is not sent."""
    a, _ = lab.queues
    lab.publish(a)
    lab.pool.fetch(a)
    lab.see(("fetched", (a, 0)))
    message = lab.recorder.messages[0]
    message.channel.basic_ack(999)  # unknown tag: the broker closes the channel
    lab.see(("vanished", a))
    message.ack()
    assert lab.count("settled") == 1
    lab.recorder.events.clear()
    lab.pool.fetch(a)
    lab.see(("fetched", (a, 0)))
    assert lab.recorder.messages[-1].redelivered


def test_a_deleted_queue_ends_its_subscription(lab: Lab) -> None:
    """The broker's own cancel is told, and raises nothing."""
    a, _ = lab.queues
    lab.pool.listen(a)
    lab.pool.fetch(lab.queues[1])
    lab.see(("empty", (lab.queues[1], 1)))
    lab.channel.queue_delete(a)
    lab.see(("unlistened", a))


def test_a_message_settles_once(lab: Lab) -> None:
    """A second acknowledgement, or a rejection after it, is neither sent nor told."""
    a, _ = lab.queues
    lab.publish(a)
    lab.pool.fetch(a)
    lab.see(("fetched", (a, 0)))
    message = lab.recorder.messages[0]
    message.ack()
    message.ack()
    message.reject(requeue=True)
    message.requeue()
    assert lab.count("settled") == lab.count("settling") == 1
