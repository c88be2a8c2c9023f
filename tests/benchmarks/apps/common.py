"""What the apps of all systems have in common: the conditions of the comparison."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from celery import Celery

if TYPE_CHECKING:
    from collections.abc import Mapping

BROKER: Final = "BENCH_BROKER"
PREFIX: Final = "BENCH_PREFIX"

CONDITIONS: Final[Mapping[str, object]] = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_ignore_result": True,
    "result_backend": None,
    "broker_connection_retry_on_startup": True,
    "worker_send_task_events": False,
}


def create(broker_url: str) -> Celery:
    """Return an app under the conditions of the comparison, which no other app's tasks get into."""
    app = Celery("bench", set_as_current=False)
    app.conf.update(CONDITIONS)
    app.conf.broker_url = broker_url
    return app


def given(name: str) -> str:
    """Return a variable that the benchmark gives its workers."""
    return os.environ[name]
