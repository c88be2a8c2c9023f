"""The Celery app of the benchmarks; its tasks stamp a file with the time at which they ran.

The files are per process and hold one double for each run, so that a stamp costs about a microsecond.
"""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

from celery import Celery

from taketurns import TakeTurns, TenantTask

app = Celery("bench")
app.conf.task_default_queue = "plain"
app.conf.task_ignore_result = True
app.conf.worker_prefetch_multiplier = 1
app.conf.broker_connection_retry_on_startup = True
turns = TakeTurns(app)

_files: dict[str, int] = {}


def _stamp(name: str) -> None:
    key = f"{name}.{os.getpid()}"
    if key not in _files:
        path = Path(os.environ["BENCH_STAMPS"]) / key
        _files[key] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(_files[key], struct.pack("d", time.time()))


@app.task(base=TenantTask)
def turn(name: str, seconds: float = 0.0) -> None:
    """Run on the tenant's own queue."""
    _stamp(name)
    if seconds:
        time.sleep(seconds)


@app.task(base=TenantTask, rate_limit_per_tenant="1/1s")
def throttled(name: str) -> None:
    """Run once a second, on the tenant's own queue."""
    _stamp(name)


@app.task(acks_late=True)
def plain(name: str, seconds: float = 0.0) -> None:
    """Run on the one ordinary queue."""
    _stamp(name)
    if seconds:
        time.sleep(seconds)
