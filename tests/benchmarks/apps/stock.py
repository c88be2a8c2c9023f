"""Plain Celery: what one FIFO queue and the plain recipe of a queue a user run on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from benchmarks import stamps
from benchmarks.apps.common import BROKER, create, given

if TYPE_CHECKING:
    from celery import Celery

QUEUE: Final = "bench.fifo"
TASK: Final = "bench.work"


def build(broker_url: str) -> Celery:
    """Return the app; it publishes with confirms, as taketurns does."""
    app = create(broker_url)
    app.conf.task_default_queue = QUEUE
    app.conf.broker_transport_options = {"confirm_publish": True}
    app.task(stamps.work, name=TASK, shared=False)
    return app


if BROKER in os.environ:
    app = build(given(BROKER))
