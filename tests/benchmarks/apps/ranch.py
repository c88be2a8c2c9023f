"""celery-ranch, which keeps its backlog in Redis, and needs Redis as the broker for that."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from celery_ranch import lru_task
from celery_ranch.utils import prioritize
from celery_ranch.utils.persistence import RedisStorage

from benchmarks import stamps
from benchmarks.apps.common import BROKER, PREFIX, create, given

if TYPE_CHECKING:
    from celery import Celery

QUEUE: Final = "bench.ranch"
TASK: Final = "bench.work"


def build(broker_url: str, prefix: str) -> Celery:
    """Return the app, made the current one, as celery-ranch looks for its tasks there.

    Raises:
        RuntimeError: it fell back to keeping its backlog in each process' memory.
    """
    app = create(broker_url)
    app.set_current()
    app.conf.task_default_queue = QUEUE
    app.conf.broker_transport_options = {"global_keyprefix": f"{prefix}-"}
    app.conf.ranch = {}
    lru_task(app, config={"redis_prefix": f"{prefix}-ranch:"}, name=TASK)(stamps.work)
    if not isinstance(prioritize._storage, RedisStorage):
        raise RuntimeError("celery-ranch could not use Redis")  # noqa: TRY004  # no matter of types
    return app


if BROKER in os.environ:
    app = build(given(BROKER), given(PREFIX))
