"""The demo's Celery app: ``celery -A taketurns.demo.app worker``."""

from __future__ import annotations

from celery import Celery

from taketurns import TakeTurns

app = Celery("demo", include=["taketurns.demo.tasks"])
turns = TakeTurns(app)

app.conf.update(
    worker_prefetch_multiplier=1,
    task_send_sent_event=True,  # it tells Flower each task's queue
    # For the one queue that the demo compares with: tenant tasks are confirmed anyhow.
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    result_backend=turns.settings.redis.redis_url,
    result_backend_transport_options={"global_keyprefix": f"{turns.settings.redis.redis_prefix}:results:"},
)
