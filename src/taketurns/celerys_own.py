"""Celery's own tasks, such as chord_unlock, in an app whose ``task_cls`` is TenantTask: they are no tenant's."""

from __future__ import annotations

from celery import Task


def is_celerys_own(task: type[Task]) -> bool:
    """Tell whether a task comes with Celery."""
    return task.name is not None and task.__module__.split(".")[0] == "celery"


def without_tenants(task: type[Task]) -> type[Task]:
    """Return the same task as a direct subclass of Celery's Task."""
    own = {name: value for name, value in vars(task).items() if name not in ("__dict__", "__weakref__")}
    return type(task.__name__, (Task,), own)
