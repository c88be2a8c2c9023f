"""Running a TenantTask's body: admitted first where no gate has done it, and never the end of its worker."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from billiard.common import terminate_handler_fired
from celery.exceptions import Ignore, Reject, TaskPredicate, WorkerShutdown, WorkerTerminate

from taketurns.arguments import misfit
from taketurns.delays import STEP
from taketurns.errors import (
    BrokerUnavailable,
    LockTaken,
    RegistryUnavailable,
    TaskAborted,
    WrongArguments,
)
from taketurns.extension import TakeTurns
from taketurns.inheritance import tenant_of_request
from taketurns.locks.locks import Ticket
from taketurns.locks.singleton import (
    DROPPED,
    SOONEST,
    WAITING_HEADER,
    lock_of,
    waited,
    when_busy,
    why_dropped,
)
from taketurns.retries import declared_options, submitted_options
from taketurns.tenants import owner_of_headers, tenant_of

if TYPE_CHECKING:
    from taketurns.locks.hold import Hold
    from taketurns.task import TenantTask

ADMITTED_HEADER = "taketurns_admitted"
"""Set in memory by the worker's gate, so that no task is charged twice: to True, or to the ticket of the lock that
the task goes on with."""


def run_body(task: TenantTask, request: Any, args: Any, kwargs: Any) -> Any:
    """Run the body once it is admitted.

    Raises:
        Ignore: it was refused and sent on for later, so that the message can be acknowledged.
        Reject: it was refused and could not be sent on, so that the message goes back.
        TaskAborted: the body raised what would have ended the worker.
        WrongArguments: the body does not take these arguments.
    """
    tenant = _tenant_running(request)
    owner = owner_running(request)
    if tenant is None or owner is None:
        return _survive(task, request, args, kwargs)
    if not task.singleton:
        return _run(task, request, tenant, args, kwargs)
    with _alone(task, request, owner, args, kwargs):
        return _run(task, request, tenant, args, kwargs)


def owner_running(request: Any) -> str | None:
    """Return whose task it is that runs; None: nobody's."""
    return owner_of_headers(request.headers) or _tenant_running(request)


def _tenant_running(request: Any) -> str | None:
    return tenant_of_request(request) or tenant_of((request.delivery_info or {}).get("routing_key") or "")


def _alone(task: TenantTask, request: Any, owner: str, args: Any, kwargs: Any) -> Hold:
    """Return the lock of a task of which one runs at a time, held; the errors are those of ``run_body``."""
    turns = TakeTurns.of(task.app)
    lock = lock_of(task, owner, args, kwargs)
    admitted = (request.headers or {}).get(ADMITTED_HEADER)
    ticket = Ticket(**admitted) if isinstance(admitted, dict) else None
    hold = partial(turns.locks.hold, lock, holder=request.id, ticket=ticket, quiet=True)
    try:
        return hold()
    except LockTaken:
        if when_busy(task, turns.locks, lock, request.id) == "drop":
            reason = f"{DROPPED}: {why_dropped(task, owner)}"
            is_kept = not (request.ignore_result or request.is_eager)
            task.backend.mark_as_revoked(request.id, reason, request, store_result=is_kept)
            raise Ignore(reason) from None
        if request.is_eager:
            return hold(wait=None)
    except RegistryUnavailable:
        if request.is_eager:
            raise
    since, soonest = waited(request.headers, time.time())
    request.headers = {**(request.headers or {}), WAITING_HEADER: since}
    raise _put_off(task, owner, turns.limiter.put_offs.spaced(owner, lock.name, soonest, SOONEST))


def _run(task: TenantTask, request: Any, tenant: str, args: Any, kwargs: Any) -> Any:
    if (request.headers or {}).get(ADMITTED_HEADER):
        return _survive(task, request, args, kwargs)
    turns = TakeTurns.of(task.app)
    priority = (request.delivery_info or {}).get("priority")
    limits = turns.limits.of(tenant, task.name, task.task_rate, priority)
    while not (admission := turns.limiter.admit(tenant, task.name, limits, lease=request.id)).admitted:
        if not request.is_eager:
            seconds = admission.retry_after
            if not turns.canary.has(tenant):
                seconds = turns.limiter.put_offs.seconds(tenant, task.name, limits, admission)
            raise _put_off(task, owner_running(request) or tenant, seconds)
        time.sleep(admission.retry_after)
    try:
        return _survive(task, request, args, kwargs)
    finally:
        if limits.max_concurrency is not None:
            turns.limiter.release(tenant, request.id)


def _put_off(task: TenantTask, owner: str, seconds: float) -> Ignore | Reject:
    """Submit the task again, the same in everything but its time, and tell what to do with this message."""
    try:
        task.signature_from_request(countdown=max(seconds, STEP)).apply_async(
            tenant=owner, add_to_parent=False
        )
    except BrokerUnavailable as error:
        return Reject(error, requeue=True)
    return Ignore(f"put off, again in {seconds:.3f} s")


def _survive(task: TenantTask, request: Any, args: Any, kwargs: Any) -> Any:
    _check_arguments(task, args, kwargs)
    try:
        return task.run(*args, **kwargs)
    except BaseException as error:
        if _would_end_the_worker(error, request):
            raise TaskAborted(f"the body of {task.name!r} raised {error!r}") from error
        if isinstance(error, tuple(task.retry_for)) and not isinstance(error, TaskPredicate):
            options = submitted_options(request).over(declared_options(task))
            seconds = options.delay(request.retries, random.random())  # noqa: S311  # spreads retries, no secret
            raise task.retry(exc=error, countdown=seconds) from error
        raise


def _check_arguments(task: TenantTask, args: Any, kwargs: Any) -> None:
    """Check a call as Celery does when it is submitted, outside of what retries errors of the body."""
    if (why := misfit(task, args, kwargs)) is not None:
        raise WrongArguments(why)


def _would_end_the_worker(error: BaseException, request: Any) -> bool:
    """Tell the body's own doing from an order to the process, which must be obeyed."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, Exception | WorkerShutdown | WorkerTerminate):
        return False
    if isinstance(error, SystemExit) and terminate_handler_fired():
        return False
    return not (isinstance(error, KeyboardInterrupt) and request.is_eager)
