"""A tenant's own settings: their checks and their stored form. Pure: no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, Self

from taketurns.errors import InvalidInput, InvalidWeight
from taketurns.limits.rate import parse_rate

LEAST_WEIGHT: Final = 1e-6
LARGEST_WEIGHT: Final = 1e6
"""Between these a share of the work stays a number that the scheduler can add up exactly."""


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """What an operator has set for one tenant; the defaults are those of a tenant for whom nothing is set.

    Attributes:
        rate_limit: the rate of all its tasks together, such as ``10/60s``; None leaves it to the default.
        task_rate_limits: the rate of single tasks, by the task's name.
        weight: its share of the work beside other tenants' shares.
        max_concurrency: how many of its tasks may run at once; None is any number.
        paused: its tasks wait in their queue.
        created_at: when something was first set, in seconds by Redis' clock; 0 if nothing is.
    """

    rate_limit: str | None = None
    task_rate_limits: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0
    max_concurrency: int | None = None
    burst_when_idle: bool = False
    priority_rate_limits: Mapping[str, str] = field(default_factory=dict)
    paused: bool = False
    created_at: float = 0.0

    def changed(self, **changes: object) -> Self:
        """Return these settings with some changed.

        A field that is not named stays as it is; ``task_rate_limits`` is replaced as a whole.

        Raises:
            InvalidRate: ``rate_limit``, or one of ``task_rate_limits``, is not a rate.
            InvalidWeight: ``weight`` is not a number in its range.
            InvalidInput: another value does not have its accepted form.
            TypeError: there is no such field.
        """
        for name in changes:
            if name not in _CHECKS:
                raise TypeError(f"a tenant has no setting {name!r}; there are {', '.join(_CHECKS)}")
        checked: dict[str, Any] = {name: _CHECKS[name](value) for name, value in changes.items()}
        return replace(self, **checked)

    def to_json(self) -> str:
        """Return the stored form."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the stored form; what another version has stored besides is left out."""
        stored = json.loads(text)
        return cls(**{known.name: stored[known.name] for known in fields(cls) if known.name in stored})


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """Whose task it is.

    Attributes:
        id: the task's id.
        tenant: the tenant that submitted it.
        name: the name of the task.
        queue: the queue into which it was published.
        submitted_at: when, in seconds since the epoch.
    """

    id: str
    tenant: str
    name: str
    queue: str
    submitted_at: float


def _rate_limit(value: object) -> str | None:
    if value is None:
        return None
    parse_rate(value)
    return str(value)


def _task_rate_limits(value: object) -> dict[str, str]:
    name = "task_rate_limits"
    if not isinstance(value, Mapping) or not all(isinstance(task, str) for task in value):
        raise InvalidInput(
            value, "an object of task names and rates, such as {'shop.mail': '10/60s'}", field=name
        )
    for rate in value.values():
        parse_rate(rate, field=name)
    return dict(value)


def _weight(value: object) -> float:
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and LEAST_WEIGHT <= value <= LARGEST_WEIGHT
    ):
        return float(value)
    raise InvalidWeight(value, f"a number above zero, from {LEAST_WEIGHT:f} to {LARGEST_WEIGHT:.0f}")


def _max_concurrency(value: object) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise InvalidInput(value, "a whole number from 1, or null for any number", field="max_concurrency")
    return value


def _paused(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(value, "true or false", field="paused")
    return value


_CHECKS: Final = {
    "rate_limit": _rate_limit,
    "task_rate_limits": _task_rate_limits,
    "weight": _weight,
    "max_concurrency": _max_concurrency,
    "paused": _paused,
}
