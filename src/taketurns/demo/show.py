"""The course of the demo, from the first process to the last."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from taketurns.demo.client import Client
from taketurns.demo.display import board, seconds
from taketurns.demo.errors import DemoFailed
from taketurns.demo.lines import OneQueue, TenantQueues
from taketurns.demo.names import D_RATE, TENANTS
from taketurns.demo.record import Record
from taketurns.demo.rows import one_queue_rows, tenant_queue_rows
from taketurns.demo.stage import CONCURRENCY, IDLE_TIME, WORKERS
from taketurns.demo.summary import print_bars, print_summary
from taketurns.demo.traffic import TASK_SECONDS, Counts, play
from taketurns.demo.verdict import judge
from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from taketurns.demo.display import Board
    from taketurns.demo.rows import Row
    from taketurns.demo.stage import Stage

_POLL: Final = 0.1
_STANDSTILL: Final = 60.0  # seconds without any submission, start or end after which the demo gives up
_REMOVAL_WITHIN: Final = 60.0


def run(stage: Stage, counts: Counts, console: Console) -> bool:
    """Play both rounds and wait for the reaper; return whether every promise was kept.

    Raises:
        DemoFailed: a process ended, a request failed, or nothing went on any more.
    """
    console.print(
        f"API docs: {stage.api_url}/docs   Flower: {stage.flower_url}\n\n"
        f"A submits {counts.a} tasks of {TASK_SECONDS * 1000:.0f} ms over HTTP; once all of them are queued, "
        f"B submits {counts.b} and C {counts.c}, then D {counts.d}.\n"
        f"{WORKERS} workers with {CONCURRENCY} slots each run them: first all through one queue, "
        f"then through tenant queues, D limited to {D_RATE}.\n"
        "Every wait is measured from the confirmed submission to the time that the task itself wrote at its start.\n"
    )
    one_queue = OneQueue(stage)
    before = _round(stage, one_queue, one_queue_rows, counts, console)
    one_queue.close()
    tenant_queues = TenantQueues(stage)
    views = _Views(stage)
    now = _round(stage, tenant_queues, lambda record: tenant_queue_rows(record, views()), counts, console)
    print_summary(console, before, now)
    left = _await_removal(stage, console)
    bars = judge(before, now, left)
    print_bars(console, bars)
    return all(bar.met for bar in bars)


def _round(
    stage: Stage,
    line: OneQueue | TenantQueues,
    rows: Callable[[Record], Sequence[Row]],
    counts: Counts,
    console: Console,
) -> Record:
    record = Record()
    with board(console, line.title) as shown:
        watch = _Watch(stage, line.ledger, record, rows, shown)
        play(line, counts, record, watch.wait_until)
        watch.look()
    return record


class _Watch:
    """Keeps a round's record, its board and an eye on the processes while somebody waits."""

    def __init__(
        self, stage: Stage, ledger: str, record: Record, rows: Callable[[Record], Sequence[Row]], shown: Board
    ) -> None:
        self._stage = stage
        self._ledger = stage.ledger(ledger)
        self._record = record
        self._rows = rows
        self._board = shown
        self._read = 0
        self._next_look = 0.0

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; after each new entry of the ledger it is asked again."""
        seen, since = self._progress(), time.monotonic()
        while True:
            entries = self._ledger.read(self._read)
            self._read += len(entries)
            self._record.add(entries)
            if condition():
                return
            self._stage.check()
            now = time.monotonic()
            if now >= self._next_look:
                self.look()
                self._next_look = time.monotonic() + self._board.interval
            if (progress := self._progress()) != seen:
                seen, since = progress, now
            elif now - since > _STANDSTILL:
                raise DemoFailed(
                    f"nothing has happened for {_STANDSTILL:.0f} s; see the logs in {self._stage.directory}"
                )
            time.sleep(_POLL)

    def look(self) -> None:
        """Show how it stands, here and in Flower."""
        self._stage.refresh_flower()
        self._board.show(self._rows(self._record))

    def _progress(self) -> tuple[int, int]:
        return self._read, len(self._record.confirmed)


class _Views:
    """What ``GET /me`` answers to each tenant."""

    def __init__(self, stage: Stage) -> None:
        self._clients = {tenant: Client(stage.api_url, stage.token(tenant)) for tenant in TENANTS}

    def __call__(self) -> dict[str, dict[str, Any]]:
        return {tenant: client.me() for tenant, client in self._clients.items()}


def _await_removal(stage: Stage, console: Console) -> list[str]:
    """Wait until the reaper has removed all tenant queues; return those that it did not remove in time."""
    begin = time.monotonic()
    console.print(f"The reaper removes tenant queues that were idle for {IDLE_TIME:.0f} s:")
    left, when = [queue_name(tenant) for tenant in TENANTS], "already"
    while left and time.monotonic() < begin + _REMOVAL_WITHIN:
        stage.check()
        there = stage.management.tenant_queues()
        for name in [name for name in left if name not in there]:
            left.remove(name)
            console.print(f"  {name} is gone {when}")
        time.sleep(_POLL)
        when = f"after {seconds(time.monotonic() - begin)}"
    return left
