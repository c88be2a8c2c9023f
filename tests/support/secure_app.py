"""An app whose servers speak TLS; what runs is told by its results alone."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import Celery

from taketurns import TakeTurns, TenantTask
from taketurns.settings import Settings


def build(settings: Settings | None = None) -> Celery:
    """Return the app; its tasks are in ``app.tasks`` by the names of their functions.

    Args:
        settings: the settings; by default those of the environment.
    """
    settings = settings or Settings.load()
    app = Celery("secure", backend=settings.redis.redis_url, set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        task_send_sent_event=True,
        result_backend_transport_options={"global_keyprefix": f"{settings.redis.redis_prefix}-"},
    )
    TakeTurns(app, settings)
    task = partial(app.task, shared=False)
    task(name="ordinary")(echo)
    for name, options in TENANT_TASKS.items():
        task(base=TenantTask, name=name, **options)(FUNCTIONS.get(name, echo))
    return app


def echo(label: str) -> str:
    """Return what it is given."""
    return label


def insist(label: str) -> str:
    """Fail, for good after one retry."""
    raise ValueError(label)


def parent(self: Any, label: str) -> str:
    """Submit another task."""
    return str(self.app.tasks["work"].delay(label).id)


FUNCTIONS = {"insist": insist, "parent": parent}
TENANT_TASKS: dict[str, dict[str, Any]] = {
    "work": {"expose": True},
    "limited": {"rate_limit_per_tenant": "10/1s"},
    "insist": {"retry_for": (ValueError,), "max_retries": 1, "retry_backoff": 0.1},
    "parent": {"bind": True},
}
