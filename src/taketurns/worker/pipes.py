"""Prefork's pipes to its processes: what waits is written at once, and as one.

Celery asks the loop first which pipes can be written to: two system calls for each process, and a pass of the loop
for each task, which tell that a process without a task has an empty pipe. And it writes a task's length by itself, so
the process wakes up before there is anything to read.
"""

from __future__ import annotations

from select import PIPE_BUF
from typing import Any, Final

from celery.concurrency.asynpool import AsynPool

_NOTHING: Final = memoryview(b"")


def write_at_once(pool: Any, hub: Any) -> None:
    """Hand the pool's waiting tasks to its free processes; what can't be written now the loop writes later.

    Args:
        pool: Celery's; one that is not prefork is left alone.
        hub: the loop that the pool is registered with.
    """
    processes = getattr(pool, "_pool", None)
    if not isinstance(processes, AsynPool) or not processes.outbound_buffer:
        return
    busy = processes._busy_workers | processes._active_writes  # noqa: SLF001  # Celery has no other way
    if free := processes._all_inqueues - busy:  # noqa: SLF001  # the same
        for job in processes.outbound_buffer:
            _join(job)
        hub.consolidate_callback(list(free))


def _join(job: Any) -> None:
    """Have a job's length written together with the rest, if that comes whole or not at all, as a pipe promises."""
    length, body, size = job._payload  # noqa: SLF001  # what Celery has prepared
    if 0 < size <= PIPE_BUF - len(length):
        job._payload = memoryview(b"".join((length, body))), _NOTHING, 0  # noqa: SLF001  # the same
