"""Tenants' tasks by their names: with ``app.send_task`` who submits one gets what ``apply_async`` does."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from celery import Celery

from taketurns.errors import InvalidInput

if TYPE_CHECKING:
    from taketurns.task import TenantTask

_SIGNATURE = inspect.signature(Celery.send_task)
_CHOSEN_BY_THE_TASK = ("self", "name", "options", "result_cls", "task_type")
_NAMED: Final = 10


def submit_by_name(app: Celery) -> None:
    """Have ``app.send_task`` submit tenants' tasks through their ``apply_async``; others go as ever.

    A task is known if this process has registered it. Where it has not, nothing tells a tenants' task from another
    one by its name, and the app's ``task_routes`` say where it goes.
    """
    send_as_ever = app.send_task

    @wraps(send_as_ever)
    def send_task(name: str, *args: Any, **kwargs: Any) -> Any:
        # With a task_type it is Celery's own apply_async that calls: the tenant has been decided.
        task = None if kwargs.get("task_type") is not None else _tenant_task(app, name)
        if task is None:
            return send_as_ever(name, *args, **kwargs)
        given = _SIGNATURE.bind(app, name, *args, **kwargs).arguments
        options = {key: value for key, value in given.items() if key not in _CHOSEN_BY_THE_TASK}
        return task.apply_async(**options, **given.get("options", {}))

    app.send_task = send_task


def tenant_task(app: Celery, name: str) -> TenantTask:
    """Return the TenantTask of that name, exposed or not; if it is not known yet, the app's modules are imported.

    Raises:
        InvalidInput: the app has none; its field is ``task``.
    """
    if not isinstance(name, str) or name not in app.tasks:
        app.loader.import_default_modules()  # as a worker does, so that all tasks are known
    task = app.tasks.get(name) if isinstance(name, str) else None
    if _is_tenants(task):
        return task
    names = sorted(each.name for each in app.tasks.values() if _is_tenants(each))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    accepted = f"a TenantTask of this app: {', '.join(names[:_NAMED]) or 'it has none'}{more}"
    raise InvalidInput(name, accepted, field="task")


def _tenant_task(app: Celery, name: str) -> TenantTask | None:
    # An app that must be finalised by hand is not finalised by this, as Celery's own send_task does not either.
    task = app.tasks.get(name) if app.finalized or app.autofinalize else None
    return task if _is_tenants(task) else None


def _is_tenants(task: Any) -> TypeGuard[TenantTask]:
    return hasattr(task, "for_tenant")
