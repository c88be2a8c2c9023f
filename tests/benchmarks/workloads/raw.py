"""How many turns the broker itself can do: consume with a credit, deliver, acknowledge, cancel, without any task.

One connection with some channels goes round backlogged queues, as fast as broker and py-amqp can. The throughput
workload has it done in its place with the most tenants, before the workers start.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from kombu import Connection

from benchmarks.bench import Outcome
from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench
    from benchmarks.systems import Turns

NAME = "raw"
MANY: Final = 10
_PARTS: Final = {1: 0.2, MANY: 0.05}  # of the queues, by the messages of a turn
_CHANNELS: Final = 16
_LIMIT = 30.0


def measure(bench: Bench, turns: Turns, names: Sequence[str]) -> int:
    """Measure turns of one message and turns of ten; return how many messages that has used up.

    Args:
        bench: the benchmark.
        turns: the place.
        names: tenants with eleven messages each at least.
    """
    used = 0
    for credit, part in _PARTS.items():
        tenants = names[: int(len(names) * part)]
        done, seconds = _Loop(turns, [queue_name(tenant) for tenant in tenants], credit).run()
        figures = {"turns/s": done / seconds, "messages/s": done * credit / seconds}
        bench.add(NAME, turns, f"turns of {credit}, T={len(names)}", Outcome(figures, done, len(tenants)))
        used += done * credit
    return used


class _Loop:
    """Keeps a turn going on each channel until all queues had theirs."""

    def __init__(self, turns: Turns, queues: list[str], credit: int) -> None:
        self._url = turns.lab.amqp_url
        self._queues = iter(queues)
        self._credit = credit
        self._wanted = len(queues)
        self._done = 0

    def run(self) -> tuple[int, float]:
        """Return the turns done and the seconds that they took."""
        with Connection(self._url) as connection:
            channels = [connection.channel() for _ in range(_CHANNELS)]
            for channel in channels:
                channel.basic_qos(0, self._credit, False)
            began = time.perf_counter()
            deadline = began + _LIMIT
            for channel in channels:
                self._turn(channel)
            while self._done < self._wanted and time.perf_counter() < deadline:
                connection.drain_events(timeout=_LIMIT)
            return self._done, time.perf_counter() - began

    def _turn(self, channel: Any) -> None:
        queue = next(self._queues, None)
        if queue is None:
            return
        got = 0

        def on_message(message: Any) -> None:
            nonlocal got
            got += 1
            if got < self._credit:
                return
            # The last message of the turn: the cancel leaves before the acknowledgement can bring another.
            channel.basic_cancel(queue, nowait=True)
            channel.basic_ack(message.delivery_tag, multiple=True)
            self._done += 1
            self._turn(channel)

        channel.basic_consume(queue, consumer_tag=queue, callback=on_message, nowait=True)
