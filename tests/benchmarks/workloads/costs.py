"""What T tenants cost a broker on which nothing happens: memory and CPU of idle, consumed and backlogged queues.

Each series begins on a fresh node, since a node keeps the memory that it has freed.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from kombu import Connection

from benchmarks.bench import Outcome, tenants
from benchmarks.broker_view import Node, files
from benchmarks.loader import Task
from support.progress import say
from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.bench import Bench
    from benchmarks.systems import Turns

NAME = "costs"
CPU = "idle CPU %"
MESSAGES = 10
_AT_A_TIME = 500
_CONSUMERS = 256  # of a channel, as the workers have it
_SETTLED_AFTER = 11.0  # seconds: two rounds of the broker's statistics, and its processes' collection
_REST_WITHIN, _LOOK_EVERY, _STEADY = 90.0, 5.0, 0.005
_FILES, _OTHER_FILES = 1.5, 1000
_ROOM = (
    100_000  # bytes for a tenant, so that a node is not filled to its limit; about twice what was measured
)


class State(NamedTuple):
    """What a node takes while nothing happens: bytes used by its own account, bytes resident, % of one CPU."""

    used: float
    resident: float
    cpu: float


class Made(NamedTuple):
    """How many things were made, and what that took: seconds, and the node's CPU seconds."""

    number: int
    seconds: float
    cpu: float


def run(bench: Bench) -> None:
    """Measure an empty node, then each number of tenants."""
    if not bench.measures_turns:
        return
    with bench.fresh_turns() as turns:
        state = _settled(Node(turns.lab.broker), bench.profile.cost_idle)
        note = f"the empty node: {state.resident / 1e6:.0f} MB resident, {state.used / 1e6:.0f} MB used"
        bench.add(NAME, turns, "T=0", Outcome({CPU: state.cpu}, 0, 0, note))
    for count in bench.profile.cost_tenants:
        _idle_and_consumed(bench, count)
        _backlogged(bench, count)


def _idle_and_consumed(bench: Bench, count: int) -> None:
    idle_seconds, limit = bench.profile.cost_idle, bench.profile.cost_limit
    with bench.fresh_turns() as turns:
        node = Node(turns.lab.broker)
        case = f"T={count} idle"
        if lacking := _lacking(node, count):
            bench.add(NAME, turns, case, Outcome({}, 0, count, lacking))
            return
        say(f"  {count} idle queues are declared")
        empty = _settled(node, 0)
        names = tenants(count)
        made = _in_parts(node, names, turns.declare, limit)
        idle = _settled(node, idle_seconds)
        bench.add(NAME, turns, case, Outcome(each(empty, idle, made), made.number, count))
        with _consumers(turns) as consume:
            made = _in_parts(node, names[: made.number], consume, limit)
            state = _settled(node, idle_seconds)
            figures = each(idle, state, made)
            bench.add(NAME, turns, f"T={count} a consumer each", Outcome(figures, made.number, count))


def _backlogged(bench: Bench, count: int) -> None:
    with bench.fresh_turns() as turns:
        node = Node(turns.lab.broker)
        case = f"T={count} {MESSAGES} messages each"
        allowed = files(turns.lab.broker)
        needed = int(count * _FILES) + _OTHER_FILES
        lacking = _lacking(node, count)
        if allowed is not None and needed > allowed:
            lacking = f"needs {needed} files, may open {allowed}"
        if lacking:
            bench.add(NAME, turns, case, Outcome({}, 0, count, lacking))
            return
        say(f"  {count} queues are declared and filled")
        empty = _settled(node, 0)
        run, _ = turns.lab.run(NAME)
        declared = _in_parts(node, tenants(count), turns.declare, bench.profile.cost_limit)

        def fill(names: Sequence[str]) -> None:
            turns.load(run, (Task(name, key) for _ in range(MESSAGES) for key, name in enumerate(names)))

        made = _in_parts(node, tenants(declared.number), fill, bench.profile.cost_limit)
        state = _settled(node, bench.profile.cost_idle)
        bench.add(NAME, turns, case, Outcome(each(empty, state, made), made.number, count))


def each(before: State, after: State, made: Made) -> dict[str, float]:
    """Return what each of the things costs that were made between two states of a node."""
    count = max(made.number, 1)
    return {
        "used kB each": (after.used - before.used) / count / 1000,
        "RSS kB each": (after.resident - before.resident) / count / 1000,
        CPU: after.cpu,
        "made/s": made.number / made.seconds,
        "CPU ms to make": made.cpu / count * 1000,
    }


def _settled(node: Node, seconds: float) -> State:
    """Wait until the node has come to rest; return what it takes, its CPU over so many seconds."""
    time.sleep(_SETTLED_AFTER)
    _rest(node)
    began, before = time.monotonic(), node.cpu()
    time.sleep(seconds)
    cpu = (node.cpu() - before) / (time.monotonic() - began) * 100 if seconds else float("nan")
    return State(node.used(), node.resident(), cpu)


def _rest(node: Node) -> None:
    """Wait until the memory changes no more; what 10,000 queues were made with goes late."""
    used, deadline = node.used(), time.monotonic() + _REST_WITHIN
    while time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY)
        before, used = used, node.used()
        if abs(used - before) < _STEADY * used:
            return
    say("  the node's memory did not come to rest")


def _lacking(node: Node, count: int) -> str:
    """Say what keeps the node from holding so many tenants; nothing if it can."""
    allowed = min(node.memory_limit, _available())
    needed = count * _ROOM
    return "" if needed <= allowed else f"needs {needed / 1e9:.1f} GB, may use {allowed / 1e9:.1f}"


def _available() -> int:
    with open("/proc/meminfo") as lines:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def _in_parts(node: Node, names: Sequence[str], add: Callable[[Sequence[str]], None], limit: float) -> Made:
    """Add tenants, some at a time, until all are there or the time is over."""
    began, cpu = time.monotonic(), node.cpu()
    done = 0
    while done < len(names) and time.monotonic() - began < limit:
        part = names[done : done + _AT_A_TIME]
        add(part)
        done += len(part)
    return Made(done, max(time.monotonic() - began, 1e-9), node.cpu() - cpu)


@contextmanager
def _consumers(turns: Turns) -> Iterator[Callable[[Sequence[str]], None]]:
    """Lend a function that subscribes as a worker does: credit 1, many consumers on a channel, one connection."""
    with Connection(turns.lab.amqp_url) as connection:

        def consume(names: Sequence[str]) -> None:
            for first in range(0, len(names), _CONSUMERS):
                channel = connection.channel()
                channel.basic_qos(0, 1, False)
                for name in names[first : first + _CONSUMERS]:
                    queue = queue_name(name)
                    channel.basic_consume(
                        queue, consumer_tag=queue, callback=_ignore, on_cancel=_ignore, nowait=True
                    )
                channel.basic_qos(0, 1, False)  # its answer comes after all of them

        yield consume


def _ignore(*_: Any) -> None:
    """Do nothing: no message comes."""
