"""The tenant key: whose queue an owner's tasks go to. Pure: no I/O but what a team's own function does.

The *owner* is who submits a task: the claim of a token, the tenant of an API key, or ``tenant=`` of a call. The
*tenant* is the unit of fairness that the owner is mapped to, with its queue, limits and weight. Isolation is by
owner, fairness by tenant: owners that share a tenant share all of these, and see nothing of each other.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from celery.utils.imports import qualname, symbol_by_name

from taketurns.errors import InvalidInput, InvalidSettings, TaketurnsError, TenantKeyFailed
from taketurns.tenants import OWNER_HEADER, TENANT_HEADER, queue_name, validate_tenant

logger = logging.getLogger(__name__)

TenantFunction: TypeAlias = Callable[[str], str]
"""Returns the tenant of an owner. It must return the same in every process, and is called at every submission."""

FUNCTION_VARIABLE: Final = "TAKETURNS_TENANT_KEY_FUNCTION"
SHARDS_VARIABLE: Final = "TAKETURNS_TENANT_KEY_SHARDS"

MOST_SHARDS: Final = 10_000
_MULTIPLIER: Final = 2862933555777941757
_WORD: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Whose:
    """Who submits a task, and whose queue it goes to.

    Attributes:
        owner: who submits it.
        tenant: the tenant that the owner is mapped to; most often the owner itself.
    """

    owner: str
    tenant: str

    @property
    def other_queue(self) -> str | None:
        """The tenant's queue; None if it has the owner's name."""
        return None if self.owner == self.tenant else queue_name(self.tenant)

    def headers(self) -> dict[str, str]:
        """Return the message headers that say so; the owner's is left out where it is the tenant."""
        of_owner = {} if self.owner == self.tenant else {OWNER_HEADER: self.owner}
        return {TENANT_HEADER: self.tenant, **of_owner}

    def in_headers(self, headers: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return a message's headers that say so, whatever they said before."""
        return {**{name: value for name, value in headers.items() if name != OWNER_HEADER}, **self.headers()}


class TenantKey:
    """Maps owners to tenants: each to itself, to one of so many shards, or as a function says.

    Args:
        function: the function, or where it is: ``package.module:name``, imported at its first use, as it may be in
            the module that is creating the app.
        shards: the number of shards.

    Raises:
        InvalidSettings: there is a function and a number of shards.
        InvalidInput: the function can't be called.
    """

    def __init__(self, function: TenantFunction | str | None = None, *, shards: int | None = None) -> None:
        if function is not None and shards is not None:
            raise InvalidSettings(
                f"{SHARDS_VARIABLE} and a tenant key function exclude each other: leave out one of them"
            )
        if function is not None and not isinstance(function, str) and not callable(function):
            raise InvalidInput(function, "a function of an owner that returns its tenant", field="tenant_key")
        self._function = function
        self._shards = shards

    def tenant_of(self, owner: str) -> str:
        """Return the tenant of a valid owner.

        Raises:
            InvalidTenant: the function returned what is no tenant id; ``field`` says of which owner.
            TenantKeyFailed: the function raised an error.
            InvalidSettings: there is no function where the setting says.
        """
        if self._shards is not None:
            return shard_of(owner, self._shards)
        if self._function is None:
            return owner
        function = self._found()
        try:
            tenant = function(owner)
        except Exception as error:
            raise TenantKeyFailed(owner, qualname(function), repr(error)) from error
        return validate_tenant(tenant, field=f"what tenant_key {qualname(function)} returned for {owner!r}")

    def whose(self, owner: str) -> Whose:
        """Return the owner with its tenant; raises as [tenant_of][] does."""
        return Whose(owner, self.tenant_of(owner))

    def whose_now(self, owner: str, tenant: str) -> Whose:
        """Return the owner of what was accepted before, with its tenant by now.

        Never fails: if the function does, that is the tenant which it had.
        """
        try:
            return self.whose(owner)
        except TaketurnsError as error:
            logger.warning("what %s has submitted goes on as %s's: %s", owner, tenant, error)
            return Whose(owner, tenant)

    @property
    def is_shared(self) -> bool:
        """Whether several owners may have one tenant."""
        return self._shards is not None or self._function is not None

    def check(self) -> None:
        """Import the function that is named by its place; raises InvalidSettings if there is none."""
        if self._function is not None:
            self._found()

    def _found(self) -> TenantFunction:
        if isinstance(self._function, str):
            try:
                found = symbol_by_name(self._function)
            except (ImportError, AttributeError, ValueError) as error:
                raise InvalidSettings(f"{FUNCTION_VARIABLE}: {self._function!r}: {error}") from error
            if not callable(found):
                raise InvalidSettings(f"{FUNCTION_VARIABLE}: {self._function!r} is no function")
            self._function = found
        assert callable(self._function)  # noqa: S101
        return self._function


def shard_of(owner: str, shards: int) -> str:
    """Return the owner's shard: ``shard-0000`` to ``shard-9999``, the same in every process and for ever.

    A jump consistent hash (Lamping and Veach, 2014): with N + k shards instead of N, k / (N + k) of the owners move,
    all of them to the new ones.

    Args:
        owner: the owner.
        shards: how many there are, 1 to 10,000.
    """
    key = int.from_bytes(hashlib.sha256(owner.encode()).digest()[:8])
    chosen, following = -1, 0
    while following < shards:
        chosen = following
        key = (key * _MULTIPLIER + 1) & _WORD
        following = int((chosen + 1) * (2**31 / ((key >> 33) + 1)))
    return f"shard-{chosen:04d}"
