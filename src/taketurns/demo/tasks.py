"""The demo's tasks. They write down themselves when they started and ended."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from redis import Redis

from taketurns import TenantTask
from taketurns.demo.app import app, turns
from taketurns.demo.ledger import Ledger
from taketurns.demo.names import PLAIN_WORK, WORK


@cache
def _redis() -> Redis:
    return Redis.from_url(turns.settings.redis.redis_url)


def _work(task_id: str, ledger: str, seconds: float) -> None:
    book = Ledger(_redis(), turns.settings.redis.redis_prefix, ledger)
    book.started(task_id, time.time())
    time.sleep(seconds)
    book.ended(task_id, time.time())


@app.task(base=TenantTask, name=WORK, bind=True, expose=True, ignore_result=True)
def work(self: Any, ledger: str, seconds: float) -> None:
    """Take so many seconds, asleep."""
    _work(self.request.id, ledger, seconds)


@app.task(name=PLAIN_WORK, bind=True, acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def plain_work(self: Any, ledger: str, seconds: float) -> None:
    """Do the same as an ordinary Celery task."""
    _work(self.request.id, ledger, seconds)


@app.task(base=TenantTask, name="demo.greet", expose=True)
def greet(name: str) -> str:
    """Return a greeting: something to try by hand."""
    return f"Hello, {name}!"
