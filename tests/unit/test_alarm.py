"""The alarm of the worker's loop."""

from __future__ import annotations

import socket
from contextlib import closing
from time import monotonic
from typing import TYPE_CHECKING

from kombu.asynchronous import Hub

from taketurns.worker.alarm import Alarm

if TYPE_CHECKING:
    from collections.abc import Callable

_DEADLINE = 20.0


def _run(hub: Hub, until: Callable[[], bool]) -> None:
    """Run a loop that has something to watch, as a worker's, until a condition holds."""
    ours, others = socket.socketpair()
    with closing(ours), closing(others):
        hub.add_reader(ours, lambda: None)
        deadline = monotonic() + _DEADLINE
        while not until():
            assert monotonic() < deadline
            hub.run_once()
        hub.remove_reader(ours)


def test_one_that_is_set_in_a_tick_wakes_the_loop_before_the_next_timer() -> None:
    hub = Hub()
    seen: list[str] = []
    alarm = Alarm(hub, hub.timer, lambda: None)

    def tick() -> None:
        if not seen:
            seen.append("set")
            alarm.set(monotonic() + 0.01)
        elif alarm.is_due(monotonic()) and "due" not in seen:
            seen.append("due")

    hub.on_tick.add(tick)
    hub.timer.call_after(1.0, lambda: seen.append("another timer"))
    with closing(hub):
        _run(hub, lambda: len(seen) == 3)
    assert seen == ["set", "due", "another timer"]


def test_one_that_is_set_anew_or_cancelled_rings_only_then() -> None:
    hub = Hub()
    rung: list[str] = []
    moved = Alarm(hub, hub.timer, lambda: rung.append("moved"))
    cancelled = Alarm(hub, hub.timer, lambda: rung.append("cancelled"))
    now = monotonic()
    moved.set(now)
    moved.set(now + 0.1)
    cancelled.set(now)
    cancelled.set(None)
    assert not cancelled.is_due(now)
    hub.timer.call_at(now + 0.05, lambda: rung.append("between"))
    with closing(hub):
        _run(hub, lambda: "moved" in rung)
    assert rung == ["between", "moved"]
