"""The noisy neighbour: what is submitted, by whom, and in which order; the same for both rounds."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from taketurns.demo.client import Client
    from taketurns.demo.record import Record

TASK_SECONDS: Final = 0.02

_CLIENTS: Final = {"A": 4}  # concurrent clients of a tenant, where it has more than one


@dataclass(frozen=True)
class Counts:
    """How many tasks each tenant submits."""

    a: int = 3000
    b: int = 50
    c: int = 50
    d: int = 60

    def scaled(self, factor: float) -> Counts:
        """Return so many times as many, at least two of each."""
        return Counts(*(max(round(count * factor), 2) for count in (self.a, self.b, self.c, self.d)))


class Line(Protocol):
    """The way that a round's tasks take."""

    def client(self, tenant: str) -> Client:
        """Return a new client that submits for the tenant."""

    def submit(self, client: Client) -> str:
        """Submit one task; return its id."""

    def hold(self) -> None:
        """Let no task of A start."""

    def release(self) -> None:
        """Let A's tasks start."""


def play(
    line: Line, counts: Counts, record: Record, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    """Play one round, until all its tasks have ended.

    A is held until all its tasks are queued, so that B and C come upon the whole of them however fast this machine
    submits. They come once A's first task has started.

    Args:
        line: the way that the tasks take.
        counts: how many each tenant submits.
        record: is told of every confirmed task.
        wait_until: waits for a condition, and sees meanwhile that the record gets what the tasks write.
    """
    with _Submitters(line, record) as submitters:
        line.hold()
        wait_until(submitters.submit("A", counts.a))
        before = len(record.started)
        line.release()
        wait_until(lambda: len(record.started) > before)
        b, c = submitters.submit("B", counts.b), submitters.submit("C", counts.c)
        wait_until(lambda: b() and c())
        wait_until(submitters.submit("D", counts.d))
        wait_until(record.all_ended)


class _Submitters:
    """Threads that submit; when the block ends early, so do they."""

    def __init__(self, line: Line, record: Record) -> None:
        self._line = line
        self._record = record
        self._given_up = Event()
        self._threads = ThreadPoolExecutor(8)

    def submit(self, tenant: str, count: int) -> Callable[[], bool]:
        """Begin to submit, one after the other by each client; return what tells when all are confirmed."""
        clients = _CLIENTS.get(tenant, 1)
        counts = [count // clients + (i < count % clients) for i in range(clients)]
        futures = [self._threads.submit(self._submit, tenant, each) for each in counts]
        return lambda: all(_is_done(future) for future in futures)

    def _submit(self, tenant: str, count: int) -> None:
        client = self._line.client(tenant)
        for _ in range(count):
            if self._given_up.is_set():
                return
            task_id = self._line.submit(client)
            self._record.submitted(tenant, task_id, time.time())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._given_up.set()
        self._threads.shutdown()


def _is_done(future: Future[Any]) -> bool:
    return future.done() and future.result() is None  # result() raises what went wrong in the thread
