"""A team's own weight function: what it is given, and what it may return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from taketurns.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantShare:
    """What a weight function is told of a tenant. More fields may come; each has a default.

    Attributes:
        tenant: the tenant's id.
        share: its fraction, 0 to 1, of the slot seconds that tenants' tasks had on this worker in the last 60 s;
            running tasks count up to now. 0 if it had none. Known to the second, and to this worker alone.
        weight: the weight that an operator has set for it; 1 if none is set.
        tags: its tags, as set by an operator.
        metadata: its metadata, as set by an operator; not to be changed.
    """

    tenant: str
    share: float = 0.0
    weight: float = 1.0
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


WeightFunction: TypeAlias = Callable[[TenantShare], float]
"""Returns a tenant's weight, from 0.000001 to 1000000: twice the weight is twice the share of the work."""


def checked_function(value: WeightFunction | None) -> WeightFunction | None:
    """Return a weight function.

    Raises:
        InvalidInput: it can't be called.
    """
    if value is not None and not callable(value):
        raise InvalidInput(
            value, "a function of one argument, a TenantShare, that returns a weight", field="weight_function"
        )
    return value
