"""The Celery app of all scenarios: its tasks write into the ledger, and its workers say there that they are up."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, current_task, signals

from chaos import controls
from chaos.ledger import Ledger
from chaos.variables import LEDGER, RESULTS
from taketurns import TakeTurns, TenantTask

app = Celery("chaos", backend=os.environ.get(RESULTS))
app.conf.task_ignore_result = RESULTS not in os.environ
app.conf.broker_connection_retry_on_startup = True
app.conf.worker_cancel_long_running_tasks_on_connection_loss = False
app.conf.broker_heartbeat = 3  # a connection that nobody answers on is noticed within 7 s
turns = TakeTurns(app)

_ledger = Ledger(Path(os.environ[LEDGER]))


@app.task(base=TenantTask, expose=True, shared=False)
def work(label: str, seconds: float) -> None:
    """Take so many seconds, asleep, and write down that it began and ended."""
    run = f"{os.getpid()}-{time.monotonic_ns()}"
    _ledger.write("start", label, run, current_task.request.hostname)
    time.sleep(seconds)
    _ledger.write("end", label, run)


@signals.worker_ready.connect
def _say_ready(sender: Any, **_: Any) -> None:
    _ledger.write("ready", sender.hostname)


controls.take_away(work)
