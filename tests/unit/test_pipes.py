"""Prefork's pipes, with a real pool and a real loop."""

from __future__ import annotations

import os
import signal
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from celery.concurrency.asynpool import AsynPool

from taketurns.loop import Loop
from taketurns.worker.pipes import write_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def turn(hub: Loop, until: Callable[[], object], processes: Any = None) -> None:
    """Have the loop go on, and write what waits in each pass if the pool is given."""
    deadline = time.monotonic() + 20
    while not until():
        assert time.monotonic() < deadline
        hub.run_once()
        if processes is not None:
            write_at_once(SimpleNamespace(_pool=processes), hub)


@pytest.fixture
def hub() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def processes(hub: Loop) -> Iterator[Any]:
    """Return Celery's pool, of one process, which is ready."""
    pool = AsynPool(1, threads=False)
    pool.register_with_event_loop(hub)
    turn(hub, lambda: pool._all_inqueues)
    yield pool
    pool.terminate()
    pool.join()


def test_a_task_is_written_before_the_loop_goes_on(processes: Any, hub: Loop) -> None:
    """Then the loop has nothing to do for it, in this pass or the next, until the process answers."""
    answers: list[int] = []
    processes.apply_async(abs, (-21,), callback=answers.append)
    write_at_once(SimpleNamespace(_pool=processes), hub)
    assert not processes.outbound_buffer
    assert not hub.writers
    turn(hub, lambda: answers)
    assert answers == [21]


def test_what_no_process_is_free_for_waits(processes: Any, hub: Loop) -> None:
    """A process gets its next task when it has ended the one before."""
    answers: list[int] = []
    for number in range(3):
        processes.apply_async(abs, (-number,), callback=answers.append)
    write_at_once(SimpleNamespace(_pool=processes), hub)
    write_at_once(SimpleNamespace(_pool=processes), hub)
    assert len(processes.outbound_buffer) == 2
    turn(hub, lambda: len(answers) == 3, processes)
    assert answers == [0, 1, 2]


def test_what_a_pipe_cannot_take_at_once_the_loop_writes(processes: Any, hub: Loop) -> None:
    """The process stands still, so that its pipe fills; nothing of the task is lost, and nobody waits for it."""
    [process] = processes._pool
    answers: list[int] = []
    os.kill(process.pid, signal.SIGSTOP)
    try:
        processes.apply_async(len, ("x" * 1_000_000,), callback=answers.append)
        write_at_once(SimpleNamespace(_pool=processes), hub)
        assert hub.writers
    finally:
        os.kill(process.pid, signal.SIGCONT)
    turn(hub, lambda: answers)
    assert answers == [1_000_000]
