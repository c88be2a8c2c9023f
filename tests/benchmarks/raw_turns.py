"""What a turn costs the broker and the client: fetched with basic.get, or consumed and cancelled.

``python tests/benchmarks/raw_turns.py`` prints, for turns of one and of eight messages over 200 backlogged queues,
the messages per second and the client's CPU time a message; no worker and no task is involved. Needs the broker that
TAKETURNS_AMQP_URL names, or starts a private one.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import uuid
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from amqp import spec
from kombu import Connection
from kombu.transport import pyamqp

from taketurns.services import PrivateNodes
from taketurns.settings import Settings
from taketurns.topology import TENANT_QUEUE_ARGUMENTS


class TurnChannel(pyamqp.Channel):
    """A channel that takes one turn at a time: so many messages of one queue, then their acknowledgements."""

    def __init__(self, connection: Any, race: Race) -> None:
        self.race = race
        self.queue = ""
        self.tags: list[int] = []
        self.consumer = ""
        super().__init__(connection)
        self.open()

    def _setup_listeners(self) -> None:
        super()._setup_listeners()
        self._callbacks[spec.Basic.GetOk] = self._on_answer
        self._callbacks[spec.Basic.ConsumeOk] = self._ignore
        self._callbacks[spec.Basic.QosOk] = self._ignore

    def _ignore(self, *_: Any) -> None:
        pass

    def _on_answer(self, tag: int, *_: Any) -> None:
        self._take(tag)

    def _on_message(self, raw: Any) -> None:
        self._take(raw.delivery_info["delivery_tag"])

    def _take(self, tag: int) -> None:
        self.tags.append(tag)
        if len(self.tags) == self.race.quantum:
            if self.consumer:
                self.send_method(spec.Basic.Cancel, "sb", (self.consumer, True))
            for each in self.tags:
                self.basic_ack(each)
            self.race.turn_over(self)

    def fetch(self, queue: str) -> None:
        self.queue, self.tags = queue, []
        for _ in range(self.race.quantum):
            self.send_method(spec.Basic.Get, "Bsb", (0, queue, False))

    def consume(self, queue: str, tag: str) -> None:
        self.queue, self.tags, self.consumer = queue, [], tag
        if self.race.first_use(self):
            self.send_method(spec.Basic.Qos, "lBb", (0, self.race.quantum, False))
        self.callbacks[tag] = self._on_message
        self.send_method(spec.Basic.Consume, "BssbbbbF", (0, queue, tag, False, False, False, False, {}))


class Race:
    """Takes all messages of the queues in turns, four turns under way at a time."""

    def __init__(self, connection: Any, queues: list[str], per_queue: int, way: str, quantum: int) -> None:
        self.quantum = quantum
        self._connection = connection
        self._way = way
        self._order = deque(queues)
        self._left = len(queues) * per_queue
        self._serial = 0
        self._used: set[TurnChannel] = set()

    def run(self) -> tuple[float, float]:
        """Return messages a second and the client's CPU microseconds a message."""
        total = self._left
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(4):
            self._next(TurnChannel(self._connection, self))
        while self._left > 0:
            self._connection.drain_events(timeout=30)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        return total / seconds, cpu / total * 1e6

    def first_use(self, channel: TurnChannel) -> bool:
        known = channel in self._used
        self._used.add(channel)
        return not known

    def turn_over(self, channel: TurnChannel) -> None:
        self._left -= self.quantum
        self._order.append(channel.queue)
        if self._left > 0:
            self._next(channel)

    def _next(self, channel: TurnChannel) -> None:
        queue = self._order.popleft()
        if self._way == "get":
            channel.fetch(queue)
        else:
            self._serial += 1
            channel.consume(queue, f"{id(self)}.{self._serial}")


def main() -> None:
    """Alternate both ways and print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queues", type=int, default=200)
    parser.add_argument("--per-queue", type=int, default=40, help="messages in each queue, a multiple of 8")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with ExitStack() as stack:
        url = Settings.load().broker.amqp_url
        if url is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            url = stack.enter_context(PrivateNodes(directory)).amqp_url
        confirming = stack.enter_context(Connection(url, transport_options={"confirm_publish": True}))
        channel = confirming.channel()
        mark = uuid.uuid4().hex[:8]
        queues = [f"raw_turns_{mark}_{number}" for number in range(options.queues)]
        try:
            for queue in queues:
                channel.queue_declare(
                    queue, durable=True, auto_delete=False, arguments=dict(TENANT_QUEUE_ARGUMENTS)
                )
            _compare(url, channel, queues, options.per_queue, options.rounds)
        finally:
            for queue in queues:
                channel.queue_delete(queue)


def _compare(url: str, channel: Any, queues: list[str], per_queue: int, rounds: int) -> None:
    for quantum in (1, 8):
        results: dict[str, list[tuple[float, float]]] = {"get": [], "consume": []}
        for _ in range(rounds):
            for way, measured in results.items():
                message = channel.prepare_message(b"x" * 300, content_encoding="binary")
                for queue in queues * per_queue:
                    channel.basic_publish(message, "", queue)
                with Connection(url) as connection:
                    connection.connect()
                    measured.append(Race(connection.connection, queues, per_queue, way, quantum).run())
        for way, measured in results.items():
            rate, cpu = (statistics.median(each) for each in zip(*measured, strict=True))
            print(
                f"turns of {quantum}, {way:7}: {rate:6.0f} messages/s, {cpu:4.0f} us of client CPU a message"
            )


if __name__ == "__main__":
    main()
