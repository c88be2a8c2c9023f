"""What a worker does beside its loop, in a real loop and a real thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from kombu.asynchronous import Hub

from taketurns.worker.background import Background, Repeated

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


def turn(hub: Hub, done: list[int], count: int) -> None:
    """Keep the loop turning until so many results have come."""
    loop = hub.create_loop()
    deadline = threading.Event()
    timer = threading.Timer(10, deadline.set)
    timer.start()
    while len(done) < count and not deadline.is_set():
        hub.call_later(0.01, lambda: None)
        next(loop)
    timer.cancel()


@pytest.mark.parametrize(("changed", "runs"), [(False, 1), (True, 2)])
def test_a_change_during_a_job_has_it_run_once_more(hub: Hub, changed: bool, runs: int) -> None:
    """Since what it found may be older; an interval that passes meanwhile has not."""
    began, may_end = threading.Event(), threading.Event()
    done: list[int] = []
    calls = iter(range(10))

    def job() -> int:
        began.set()
        may_end.wait(10)
        return next(calls)

    background = Background(hub)
    repeated = Repeated(background, "the job", job, done.append)
    repeated()
    began.wait(10)
    for _ in range(3):
        (repeated.anew if changed else repeated)()
    may_end.set()
    turn(hub, done, runs)
    finished: list[int] = []
    background.submit(lambda: 0, finished.append)  # comes after all that was asked for before
    turn(hub, finished, 1)
    background.close()
    assert done == list(range(runs))
