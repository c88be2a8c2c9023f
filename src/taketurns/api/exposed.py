"""The tasks that the app exposes to HTTP."""

from celery import Celery

from taketurns.errors import UnknownTask
from taketurns.task import TenantTask


def exposed_task(app: Celery, name: str) -> TenantTask:
    """Return the exposed task of that name.

    Raises:
        UnknownTask: there is none, or it is no ``TenantTask`` with ``expose=True``; which of them is not told.
    """
    task = app.tasks.get(name)
    if not (isinstance(task, TenantTask) and task.expose):
        raise UnknownTask(name)
    return task


def exposed_tasks(app: Celery) -> list[TenantTask]:
    """Return all exposed tasks, ordered by their names."""
    return [task for _, task in sorted(app.tasks.items()) if isinstance(task, TenantTask) and task.expose]
