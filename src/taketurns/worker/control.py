"""Remote control commands of a worker that serves tenants; see Celery's ``app.control.broadcast``."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from celery.worker.control import Panel

from taketurns.sample import sample_of
from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from taketurns.worker.step import TenantQueues

Reply = dict[str, Any]


def register() -> None:
    """Make the commands known to this process's worker. May be repeated."""
    for command in (
        drain,
        holding,
        unserved,
        resume,
        drop,
        refresh,
        status,
        running,
        explain,
        cancel,
        depending,
    ):
        name = f"taketurns_{command.__name__}"
        if name not in Panel.data:
            _register(name, command)


def _register(name: str, command: Callable[..., Reply]) -> None:
    Panel.register(command, name=name, type="inspect", visible=False)


def drain(state: Any, tenants: list[str], seconds: float, **_: Any) -> Reply:
    """Stop serving these tenants for so many seconds, or until ``resume``. What runs, runs on."""
    _step(state).drain(_queues(tenants), seconds)
    return {"ok": len(tenants)}


def holding(state: Any, tenants: list[str], **_: Any) -> Reply:
    """Tell of which tenants this worker still consumes, fetches, holds or runs anything."""
    dispatcher = _step(state).dispatcher
    return {"holding": [tenant for tenant in tenants if dispatcher.holds(queue_name(tenant))]}


def unserved(state: Any, tenants: list[str], **_: Any) -> Reply:
    """Tell which tenants this worker does not serve, neither as one of their own workers nor to help."""
    served = _step(state).dispatcher.turns
    return {"unserved": [tenant for tenant in tenants if queue_name(tenant) not in served]}


def resume(state: Any, tenants: list[str], **_: Any) -> Reply:
    """Serve tenants again that were being drained."""
    _step(state).end_drain(_queues(tenants))
    return {"ok": len(tenants)}


def drop(state: Any, tenants: list[str], **_: Any) -> Reply:
    """Forget tenants whose queues were deleted."""
    step = _step(state)
    queues = _queues(tenants)
    for queue in queues:
        step.dispatcher.remove(queue)
    step.end_drain(queues)
    return {"ok": len(tenants)}


def refresh(state: Any, **_: Any) -> Reply:
    """Read the tenants' settings again now; they apply to the whole backlog."""
    _step(state).refresh()
    return {"ok": True}


def status(state: Any, **_: Any) -> Reply:
    """Return beside what ``running`` says whom the worker throttles, and by how many seconds its loop was late.

    The latest since the last call. Of the throttled ones it is a ``Sample``: 10,000 names would be a long answer.
    """
    step = _step(state)
    return {
        **running(state),
        "throttled": asdict(sample_of(step.dispatcher.throttled())),
        "loop_lag": step.lateness.take(),
    }


def running(state: Any, **_: Any) -> Reply:
    """Return what runs here, of whom, and what is held; of ``status`` the part that nobody else misses afterwards."""
    dispatcher = _step(state).dispatcher
    return {
        **dispatcher.unacknowledged(),
        "tenants": dispatcher.running(),
        "slots": dispatcher.slots(),
        "pid": os.getpid(),
    }


def explain(state: Any, tenant: str, **_: Any) -> Reply:
    """Tell why the tenant's next task has not started here: the fields of an ``Outlook``, and which tasks run."""
    dispatcher, queue = _step(state).dispatcher, queue_name(tenant)
    tasks = [str((message.headers or {}).get("id")) for message in dispatcher.running_of(queue)]
    return {**asdict(dispatcher.outlook(queue)), "tasks": tasks}


def cancel(state: Any, ids: list[str], *, terminate: bool = False, **_: Any) -> Reply:
    """Start none of these tasks any more; tell which of them were started here, and which of those were ended."""
    return _step(state).cancel(ids, terminate=terminate)


def depending(state: Any, tenant: str, **_: Any) -> Reply:
    """Write down the ends of a tenant's tasks before they are acknowledged: others depend on them."""
    _step(state).depending(tenant)
    return {"ok": True}


def _step(state: Any) -> TenantQueues:
    return state.consumer.tenant_queues


def _queues(tenants: list[str]) -> list[str]:
    return [queue_name(tenant) for tenant in tenants]
