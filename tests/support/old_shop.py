"""The shop as it was before: stock Celery, plain tasks of the same names, nothing of taketurns.

Its tasks write into the same ledger as those of ``support.shop``.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from celery import Celery, current_task
from redis import Redis

_RESULTS = os.environ.get("TAKETURNS_REDIS_URL", "redis://")
_LEDGER = f"{os.environ.get('TAKETURNS_REDIS_PREFIX', '')}-ledger"


def build(broker: str | None, results: str) -> Celery:
    """Return an app that knows where the old one's tasks go."""
    app = Celery("shop", broker=broker, backend=results, set_as_current=False)
    app.conf.update(
        task_default_queue="ordinary",
        broker_connection_retry_on_startup=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_prefetch_multiplier=1,
    )
    return app


app = build(os.environ.get("TAKETURNS_AMQP_URL"), _RESULTS)
_redis = Redis.from_url(_RESULTS)


def _note(label: str) -> None:
    request = current_task.request
    row = {
        "label": label,
        "id": request.id,
        "tenant": getattr(request, "taketurns_tenant", None),
        "started": time.time(),
        "worker": request.hostname,
    }
    _redis.rpush(_LEDGER, json.dumps(row))


@app.task(name="support.shop.work", shared=False)
def work(label: str = "", seconds: float = 0.0) -> str:
    """Take so many seconds, asleep."""
    time.sleep(seconds)
    _note(label)
    return label


@app.task(name="support.shop.flaky", shared=False, bind=True, max_retries=2)
def flaky(self: Any, label: str) -> str:
    """Fail once, then succeed."""
    _note(f"{label}-{self.request.retries}")
    if self.request.retries == 0:
        raise self.retry(countdown=0.1)
    return label


@app.task(name="support.shop.parent", shared=False)
def parent(label: str) -> None:
    """Submit another task."""
    work.delay(f"{label}-child")
    _note(label)


@app.task(name="support.shop.add", shared=False)
def add(*numbers: Any) -> int:
    """Add numbers, or one list of them."""
    flat = numbers[0] if len(numbers) == 1 and isinstance(numbers[0], list) else numbers
    return int(sum(flat))
