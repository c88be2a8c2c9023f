"""What a TenantTask may declare about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taketurns.errors import InvalidRate, TaketurnsError
from taketurns.limits.rate import parse_rate

if TYPE_CHECKING:
    from taketurns.limits.rate import RateLimit
    from taketurns.task import TenantTask

_FIXED = {
    "acks_late": (True, "a worker that dies would take its tasks with it"),
    "reject_on_worker_lost": (True, "the task of a killed process would be lost"),
    "retry_on_worker_lost": (False, "reject_on_worker_lost runs the task of a killed process again"),
    "serializer": ("json", "tenant queues carry JSON only"),
    "rate_limit": ("", "it would hold messages in the worker; use rate_limit_per_tenant"),
    "queue": (None, "the task goes into its tenant's queue"),
    "exchange": (None, "the task goes into its tenant's queue"),
    "routing_key": (None, "the task goes into its tenant's queue"),
}


def check_declaration(task: type[TenantTask]) -> RateLimit | None:
    """Return the rate that a task declares, after a look at all that it declares.

    Raises:
        InvalidRate: ``rate_limit_per_tenant`` is not of the accepted form.
        TaketurnsError: an attribute has a value that would break what taketurns promises.
    """
    for name, (required, why) in _FIXED.items():
        value = getattr(task, name, None)
        if value != required and (value or required):
            raise TaketurnsError(f"task {task.name!r} can't have {name}={value!r}: {why}")
    if task.rate_limit_per_tenant is None:
        return None
    try:
        return parse_rate(task.rate_limit_per_tenant)
    except InvalidRate as error:
        raise InvalidRate(
            error.value, error.accepted, field=f"rate_limit_per_tenant of {task.name}"
        ) from None
