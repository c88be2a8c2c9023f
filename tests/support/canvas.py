"""A Celery app whose tasks write down for which tenant they ran; for canvases, callbacks and stock workers."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from celery import Celery, current_task
from celery.worker.consumer import Consumer
from redis import Redis

from taketurns import TakeTurns, TenantTask
from taketurns.inheritance import tenant_of_request
from taketurns.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable


class StockConsumer(Consumer):
    """Celery's own consumer, under a name that taketurns does not replace."""


def build(settings: Settings | None = None, *, stock: bool = False) -> Celery:
    """Return the app; its tasks are in ``app.tasks`` by their short names.

    Args:
        settings: the settings; by default those of the environment.
        stock: let its workers be as Celery made them.
    """
    settings = settings or Settings.load()
    app = Celery("canvas", backend=settings.redis.redis_url, set_as_current=False)
    app.conf.update(
        task_default_queue="ordinary",
        result_backend_transport_options={"global_keyprefix": f"{settings.redis.redis_prefix}-"},
        broker_connection_retry_on_startup=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_routes={"note": {"queue": "elsewhere"}, "collect": {"queue": "elsewhere"}},
    )
    if stock:
        app.conf.worker_consumer = "support.canvas:StockConsumer"
    TakeTurns(app, settings)
    _add_tasks(app, settings)
    return app


def close(app: Celery) -> None:
    """Close the connections that the app has opened in this process."""
    TakeTurns.of(app).close()
    app.backend.result_consumer.stop()
    app.backend.result_consumer._pubsub = None  # or a result that is garbage would connect it again
    app.backend.client.connection_pool.disconnect()
    app.pool.force_close_all()
    app.close()


def rows(settings: Settings) -> list[dict[str, Any]]:
    """Return what the tasks wrote, a row for each run."""
    with Redis.from_url(settings.redis.redis_url) as redis:
        written = redis.lrange(_ledger(settings), 0, -1)
    return [json.loads(row) for row in written]


def _ledger(settings: Settings) -> str:
    return f"{settings.redis.redis_prefix}-ledger"


def _add_tasks(app: Celery, settings: Settings) -> None:  # one small task after another
    redis = Redis.from_url(settings.redis.redis_url)

    def write(label: str) -> str:
        request = current_task.request
        row = {
            "label": label,
            "tenant": tenant_of_request(request),
            "id": request.id,
            "root": request.root_id,
            "retries": request.retries,
            "priority": (request.delivery_info or {}).get("priority"),
            "at": time.time(),
        }
        redis.rpush(_ledger(settings), json.dumps(row))
        return label

    def tenant_task(**options: Any) -> Callable[[Any], Any]:
        def decorate(function: Any) -> Any:
            return app.task(base=TenantTask, name=function.__name__, shared=False, **options)(function)

        return decorate

    @app.task(name="plain", shared=False)
    def plain(*labels: str) -> str:
        return write(labels[-1])

    @tenant_task()
    def note(*labels: str) -> str:
        return write(labels[-1])

    @tenant_task()
    def fail(label: str) -> None:
        write(label)
        raise ValueError(label)

    @tenant_task()
    def mourn(task_id: str) -> str:
        return write("errback")

    @tenant_task()
    def collect(labels: list[str], label: str = "collect") -> list[str]:
        write(label)
        return labels

    @tenant_task()
    def spawn(label: str, tenant: str | None = None) -> None:
        options = {"tenant": tenant} if tenant else {}
        note.apply_async((label,), **options)

    @tenant_task(bind=True)
    def replace_me(self: Any, label: str) -> None:
        raise self.replace(note.s(label))

    @tenant_task(bind=True, max_retries=3, default_retry_delay=0.1)
    def twice(self: Any, label: str) -> str:
        write(label)
        if self.request.retries == 0:
            raise self.retry()
        return label

    @tenant_task(autoretry_for=(ValueError,), retry_kwargs={"max_retries": 2, "countdown": 0.1})
    def stubborn(label: str) -> str:
        write(label)
        raise ValueError(label)

    @tenant_task(rate_limit_per_tenant="10/1s", max_retries=0)
    def limited(label: str) -> str:
        return write(label)

    @tenant_task()
    def leave(label: str) -> None:
        write(label)
        raise SystemExit(3)

    @tenant_task()
    def exhaust(label: str) -> None:
        write(label)
        raise MemoryError(label)
