"""Which tenants have queues of their own by now; the tasks of the others go to the old queue. Pure: no I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Self

from taketurns.errors import InvalidInput
from taketurns.finite import is_finite
from taketurns.tenants import validate_tenant

if TYPE_CHECKING:
    from collections.abc import Collection

_NAMED: Final = 3
"""Tenants of a list that are named in words."""


@dataclass(frozen=True, slots=True)
class Canary:
    """The tenants whose tasks go to queues of their own: everybody, unless a list or a percentage is set.

    Attributes:
        percent: 0 to 100: how many of the tenants are in. Which ones, their ids decide: who is in at 10 % is in at
            20 % too. None is everybody if no tenants are listed, else nobody else.
        tenants: who is in, whatever the percentage.
        excluded: who is out, whatever else is set.

    Raises:
        InvalidInput: ``percent`` is no number from 0 to 100.
        InvalidTenant: a tenant id does not have the accepted form.
    """

    percent: float | None = None
    tenants: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.percent is not None and not _is_percentage(self.percent):
            raise InvalidInput(self.percent, "a number from 0 to 100", field="percent")
        for tenant in (*self.tenants, *self.excluded):
            validate_tenant(tenant)

    def has(self, tenant: str) -> bool:
        """Tell whether the tenant's tasks go to its own queue."""
        if tenant in self.excluded:
            return False
        return tenant in self.tenants or position(tenant) < self.share

    @property
    def share(self) -> float:
        """The percentage of those that are neither listed nor excluded."""
        if self.percent is None:
            return 0.0 if self.tenants else 100.0
        return self.percent

    @property
    def has_everybody(self) -> bool:
        """Whether there is no tenant that is out."""
        return self.share == 100.0 and not self.excluded  # noqa: PLR2004  # per cent

    def changed(
        self,
        *,
        percent: float | None = None,
        tenants: Collection[str] | None = None,
        excluded: Collection[str] | None = None,
    ) -> Canary:
        """Return another one, in which what is None here is as it was.

        The percentage that holds now stays, so nobody gets in because the last tenant of a list is taken off it.
        """
        return replace(
            self,
            percent=self.share if percent is None else percent,
            tenants=self.tenants if tenants is None else frozenset(tenants),
            excluded=self.excluded if excluded is None else frozenset(excluded),
        )

    def to_json(self) -> str:
        """Return it as [from_json][] reads it."""
        return json.dumps(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """Return its fields as JSON has them, the tenants in the order of their ids."""
        return {
            "percent": self.percent,
            "tenants": sorted(self.tenants),
            "excluded": sorted(self.excluded),
        }

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what [to_json][] has written."""
        stored = json.loads(text)
        return cls(stored["percent"], frozenset(stored["tenants"]), frozenset(stored["excluded"]))

    def __str__(self) -> str:
        """Say in words who is in."""
        if self.share == 100.0:  # noqa: PLR2004  # per cent
            who = "every tenant"
        elif self.share:
            who = " and ".join(filter(None, (f"{self.share:g} % of the tenants", _named(self.tenants))))
        else:
            who = _named(self.tenants) or "no tenant"
        return f"{who} but for {_named(self.excluded)}" if self.excluded else who


EVERYBODY: Final = Canary()


def position(tenant: str) -> float:
    """Return where in 0 to 100 a tenant stands, the same in every process and for ever; 100 is left out."""
    digest = sha256(tenant.encode()).digest()
    # 53 bits are what a float has: the quotient is exact, and below 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53 * 100


def read_tenants(text: str) -> frozenset[str]:
    """Return the tenants of a list such as ``acme,bolt``.

    Raises:
        InvalidTenant: one of them does not have the form of a tenant id.
    """
    return frozenset(validate_tenant(each.strip()) for each in text.split(",") if each.strip())


def _named(tenants: Collection[str]) -> str:
    first, more = sorted(tenants)[:_NAMED], len(tenants) - _NAMED
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


def _is_percentage(value: object) -> bool:
    return is_finite(value) and 0 <= value <= 100  # noqa: PLR2004
