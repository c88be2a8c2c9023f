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
from taketurns.tenants import owner_of_headers

if TYPE_CHECKING:
    from collections.abc import Callable


class StockConsumer(Consumer):
    """Celery's own consumer, under a name that taketurns does not replace."""


def build(settings: Settings | None = None, *, stock: bool = False) -> Celery:
    """Return the app; its tasks are in ``app.tasks`` by the names of their functions.

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
    app.task(name="plain", shared=False)(plain)
    for function, options in TENANT_TASKS.items():
        app.task(base=TenantTask, name=function.__name__, shared=False, **options)(function)
    return app


def rows(settings: Settings) -> list[dict[str, Any]]:
    """Return what the tasks wrote, a row for each run."""
    with Redis.from_url(settings.redis.redis_url) as redis:
        written = redis.lrange(_ledger(settings), 0, -1)
    return [json.loads(row) for row in written]


def _ledger(settings: Settings) -> str:
    return f"{settings.redis.redis_prefix}-ledger"


def write(label: str) -> str:
    """Write down that the current task runs."""
    settings = TakeTurns.of(current_task.app).settings
    request = current_task.request
    row = {
        "label": label,
        "tenant": tenant_of_request(request),
        "owner": owner_of_headers(request.headers),
        "id": request.id,
        "retries": request.retries,
        "priority": (request.delivery_info or {}).get("priority"),
        "came_by": (request.delivery_info or {}).get("routing_key"),
        "at": time.time(),
    }
    with Redis.from_url(settings.redis.redis_url) as redis:
        redis.rpush(_ledger(settings), json.dumps(row))
    return label


def plain(*labels: str) -> str:
    """Be an ordinary task."""
    return write(labels[-1])


def note(*labels: str) -> str:
    """Write the last of the labels, so that chains can be told apart."""
    return write(labels[-1])


def fail(label: str) -> None:
    """Fail."""
    write(label)
    raise ValueError(label)


def mourn(task_id: str) -> str:
    """Be an errback."""
    return write("errback")


def collect(labels: list[str], label: str = "collect") -> list[str]:
    """Be a chord's body."""
    write(label)
    return labels


def spawn(self: Any, label: str, tenant: str | None = None) -> None:
    """Submit another task, with or without a tenant."""
    options = {"tenant": tenant} if tenant else {}
    self.app.tasks["note"].apply_async((label,), **options)


def replace_me(self: Any, label: str, tenant: str | None = None) -> None:
    """Be replaced by another task, with or without a tenant."""
    options = {"tenant": tenant} if tenant else {}
    raise self.replace(self.app.tasks["note"].s(label).set(**options))


def twice(self: Any, label: str) -> str:
    """Succeed at the second attempt."""
    write(label)
    if self.request.retries == 0:
        raise self.retry()
    return label


def stubborn(label: str) -> str:
    """Fail at every attempt."""
    write(label)
    raise ValueError(label)


def limited(label: str) -> str:
    """Have a rate."""
    return write(label)


def sleep(label: str, seconds: float) -> None:
    """Take so many seconds."""
    write(label)
    time.sleep(seconds)


def leave(label: str) -> None:
    """Try to end the worker."""
    write(label)
    raise SystemExit(3)


def exhaust(label: str) -> None:
    """Run out of memory."""
    write(label)
    raise MemoryError(label)


TENANT_TASKS: dict[Callable[..., Any], dict[str, Any]] = {
    note: {},
    fail: {},
    mourn: {},
    collect: {},
    spawn: {"bind": True},
    replace_me: {"bind": True},
    twice: {"bind": True, "max_retries": 3, "default_retry_delay": 0.1},
    stubborn: {"autoretry_for": (ValueError,), "retry_kwargs": {"max_retries": 2, "countdown": 0.1}},
    limited: {"rate_limit_per_tenant": "10/1s", "max_retries": 0},
    sleep: {},
    leave: {},
    exhaust: {},
}
