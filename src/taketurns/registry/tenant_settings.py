"""A tenant's own settings: their checks and their stored form. Pure: no I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, Self

from taketurns.errors import InvalidInput, InvalidWeight
from taketurns.limits.rate import parse_rate
from taketurns.registry.metadata import checked_metadata
from taketurns.registry.tags import check_key, checked_tags
from taketurns.topology import PRIORITIES

LEAST_WEIGHT: Final = 1e-6
LARGEST_WEIGHT: Final = 1e6
"""Between these a share of the work stays a number that the scheduler can add up exactly."""

LARGEST_NUMBER: Final = 2**31 - 1
"""More tasks neither wait in one queue nor run at once; and Lua in Redis, which reads the maxima, knows no exact
integers beyond 2**53."""


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """What an operator has set for one tenant; the defaults are those of a tenant for whom nothing is set.

    Attributes:
        rate_limit: the rate of all its tasks together, such as ``10/60s``; None leaves it to the default.
        task_rate_limits: the rate of single tasks, by the task's name.
        weight: its share of the work beside other tenants' shares.
        max_concurrency: how many of its tasks may run at once; None is any number.
        burst_when_idle: more of them than ``max_concurrency`` may run while nobody else waits.
        max_backlog: how many of its tasks may wait in its queue; None leaves it to the default.
        priority_rate_limits: the rate of its tasks of one priority: ``low``, ``normal`` or ``high``.
        paused: its tasks wait in their queue.
        tags: keys and values to find it by, 64 at most, such as ``{"plan": "pro"}``. A key has 1 to 63 characters
            of ``A-Z a-z 0-9 . _ -``, the first one a letter or digit; a value has 1 to 256 characters.
        metadata: any JSON object that its operators keep with it, of 16 KiB at most.
        created_at: when something was first set, in seconds by Redis' clock; 0 if nothing is.
    """

    rate_limit: str | None = None
    task_rate_limits: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0
    max_concurrency: int | None = None
    burst_when_idle: bool = False
    max_backlog: int | None = None
    priority_rate_limits: Mapping[str, str] = field(default_factory=dict)
    paused: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: float = 0.0

    def changed(self, **changes: object) -> Self:
        """Return these settings with some changed.

        A field that is not named stays as it is; ``task_rate_limits``, ``priority_rate_limits``, ``tags`` and
        ``metadata`` are each replaced as a whole.

        Raises:
            InvalidRate: ``rate_limit``, or one of ``task_rate_limits`` or ``priority_rate_limits``, is not a rate.
            InvalidWeight: ``weight`` is not a number in its range.
            InvalidInput: another value does not have its accepted form.
            TypeError: there is no such field.
        """
        for name in changes:
            if name not in _CHECKS:
                raise TypeError(f"a tenant has no setting {name!r}; there are {', '.join(_CHECKS)}")
        checked: dict[str, Any] = {name: _CHECKS[name](value) for name, value in changes.items()}
        return replace(self, **checked)

    def tagged(self, changes: Mapping[str, str | None]) -> Self:
        """Return these settings with some tags set or, where the value is None, removed; the others stay.

        Raises:
            InvalidInput: a key or value does not have its accepted form, or there would be too many tags.
        """
        if not isinstance(changes, Mapping):
            raise InvalidInput(
                changes, "an object of keys and values, or None, such as {'plan': 'pro'}", field="tags"
            )
        removed = {check_key(key, field="tags") for key, value in changes.items() if value is None}
        tags = {key: value for key, value in {**self.tags, **changes}.items() if key not in removed}
        return self.changed(tags=tags)

    def to_json(self) -> str:
        """Return the stored form."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the stored form; what another version has stored besides is left out."""
        stored = json.loads(text)
        return cls(**{known.name: stored[known.name] for known in fields(cls) if known.name in stored})


def _rate_limit(value: object) -> str | None:
    if value is None:
        return None
    parse_rate(value)
    return str(value)


def _task_rate_limits(value: object) -> dict[str, str]:
    name = "task_rate_limits"
    if not isinstance(value, Mapping) or not all(task and isinstance(task, str) for task in value):
        raise InvalidInput(
            value, "an object of task names and rates, such as {'shop.mail': '10/60s'}", field=name
        )
    return _rates(value, field=name)


def _priority_rate_limits(value: object) -> dict[str, str]:
    name = "priority_rate_limits"
    if not isinstance(value, Mapping) or not value.keys() <= PRIORITIES.keys():
        raise InvalidInput(
            value,
            f"an object of priorities ({', '.join(PRIORITIES)}) and rates, such as {{'high': '10/60s'}}",
            field=name,
        )
    return _rates(value, field=name)


def _rates(value: Mapping[str, object], *, field: str) -> dict[str, str]:
    for rate in value.values():
        parse_rate(rate, field=field)
    return {name: str(rate) for name, rate in value.items()}


def checked_weight(value: object, *, field: str = "weight") -> float:
    """Return a tenant's weight.

    Raises:
        InvalidWeight: it is not a number in its range.
    """
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and LEAST_WEIGHT <= value <= LARGEST_WEIGHT
    ):
        return float(value)
    raise InvalidWeight(
        value, f"a number above zero, from {LEAST_WEIGHT:f} to {LARGEST_WEIGHT:.0f}", field=field
    )


def _max_concurrency(value: object) -> int | None:
    return _number(value, without="any number", field="max_concurrency")


def _max_backlog(value: object) -> int | None:
    return _number(value, without="the default", field="max_backlog")


def _number(value: object, *, without: str, field: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_NUMBER:
        return value
    accepted = f"a whole number from 1 to {LARGEST_NUMBER}, or null for {without}"
    raise InvalidInput(value, accepted, field=field)


def _paused(value: object) -> bool:
    return _boolean(value, field="paused")


def _burst_when_idle(value: object) -> bool:
    return _boolean(value, field="burst_when_idle")


def _boolean(value: object, *, field: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(value, "true or false", field=field)
    return value


_CHECKS: Final[Mapping[str, Callable[[object], object]]] = {
    "rate_limit": _rate_limit,
    "task_rate_limits": _task_rate_limits,
    "weight": checked_weight,
    "max_concurrency": _max_concurrency,
    "burst_when_idle": _burst_when_idle,
    "max_backlog": _max_backlog,
    "priority_rate_limits": _priority_rate_limits,
    "paused": _paused,
    "tags": checked_tags,
    "metadata": checked_metadata,
}
