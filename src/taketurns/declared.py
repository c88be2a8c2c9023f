"""What a TenantTask may declare about itself."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from taketurns.errors import InvalidInput, InvalidRate, TaketurnsError
from taketurns.limits.rate import parse_rate
from taketurns.retries import checked, declared_options
from taketurns.time_limits import is_time_limit
from taketurns.topology import PRIORITIES

if TYPE_CHECKING:
    from collections.abc import Iterator

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

_BASES = ("taketurns.task", "celery.app.task", "builtins")
_OURS = ("rate_limit_per_tenant", "expose", "retry_for", "singleton", "singleton_when_busy")
_CLOSE = 0.9
"""How alike a name must be to be a misspelt one of ours: tasks may have any attributes of their authors' own."""


def check_declaration(task: type[TenantTask]) -> RateLimit | None:
    """Return the rate that a task declares, after a look at all that it declares.

    Raises:
        InvalidRate: ``rate_limit_per_tenant`` is not of the accepted form.
        InvalidInput: another attribute is not of the accepted form.
        TaketurnsError: an attribute has a value that would break what taketurns promises, or a misspelt name.
    """
    for name, (required, why) in _FIXED.items():
        value = getattr(task, name, None)
        if value != required and (value or required):
            raise TaketurnsError(f"task {_named(task)!r} can't have {name}={value!r}: {why}")
    _check_names(task)
    _check_values(task)
    if task.rate_limit_per_tenant is None:
        return None
    try:
        return parse_rate(task.rate_limit_per_tenant)
    except InvalidRate as error:
        raise InvalidRate(
            error.value, error.accepted, field=f"rate_limit_per_tenant of {_named(task)}"
        ) from None


def _check_values(task: type[TenantTask]) -> None:
    checks = {
        "expose": (isinstance(task.expose, bool), "True or False"),
        "priority": (
            _is_priority(task.priority),
            f"{', '.join(PRIORITIES)} or 0 to {max(PRIORITIES.values())}",
        ),
        "time_limit": (is_time_limit(task.time_limit), "a number of seconds above zero, or None"),
        "retry_for": (_are_errors(task.retry_for), "a tuple of exception classes"),
        "singleton": (isinstance(task.singleton, bool) or task.singleton == "args", "True, False or 'args'"),
        "singleton_when_busy": (task.singleton_when_busy in ("wait", "drop"), "'wait' or 'drop'"),
        "soft_time_limit": (is_time_limit(task.soft_time_limit), "a number of seconds above zero, or None"),
    }
    for name, (is_valid, accepted) in checks.items():
        if not is_valid:
            raise InvalidInput(getattr(task, name), accepted, field=f"{name} of {_named(task)}")
    retries = declared_options(task)
    for name in ("retry_backoff", "retry_backoff_max", "retry_jitter"):
        checked(name, getattr(retries, name), field=f"{name} of {_named(task)}")
    checked("max_retries", task.max_retries, field=f"max_retries of {_named(task)}")


def _named(task: type[TenantTask]) -> str:
    # What register_task registers may have a name in its instance only.
    return task.name or task.__name__


def _are_errors(value: Any) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(kind, type) and issubclass(kind, Exception) for kind in value
    )


def _is_priority(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return False
    return value in (*PRIORITIES, *PRIORITIES.values())


def _check_names(task: type[TenantTask]) -> None:
    for name in _own_attributes(task):
        if name not in _OURS and (meant := difflib.get_close_matches(name, _OURS, n=1, cutoff=_CLOSE)):
            raise TaketurnsError(f"task {_named(task)!r} has an attribute {name}: did you mean {meant[0]}?")


def _own_attributes(task: type[TenantTask]) -> Iterator[str]:
    """Return the names of the values that the task and its author's base classes declare; methods are not."""
    for kind in task.__mro__:
        if kind.__module__ in _BASES:
            continue
        for name, value in vars(kind).items():
            if not name.startswith("_") and not hasattr(type(value), "__get__"):
                yield name
