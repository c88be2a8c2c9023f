"""Tenant ids and the names of their queues. Pure: no I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeGuard, overload

from taketurns.errors import InvalidTenant

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

QUEUE_PREFIX = "usersequence_"
TENANT_HEADER = "taketurns_tenant"
"""The header of a task's message that names its tenant."""
OWNER_HEADER = "taketurns_owner"
"""The header that names who submitted it, if that is another one than the tenant; see ``tenant_key.py``."""

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,127}", re.ASCII)
_ACCEPTED = "1 to 128 characters of A-Z a-z 0-9 . _ @ : + -, the first one a letter or digit"

_NAMED: Final = 5
"""Tenants that are named to people, at most."""


def validate_tenant(tenant: object, *, field: str | None = None) -> str:
    """Return ``tenant`` unchanged if it is a valid tenant id.

    Args:
        tenant: what may be one.
        field: what an error calls it, if not "tenant".

    Raises:
        InvalidTenant: it is not a string of the accepted form.
    """
    if not is_tenant(tenant):
        raise InvalidTenant(tenant, _ACCEPTED, field=field)
    return tenant


def is_tenant(value: object) -> TypeGuard[str]:
    """Tell whether this is a valid tenant id."""
    return isinstance(value, str) and _TENANT.fullmatch(value) is not None


def queue_name(tenant: str) -> str:
    """Return the name of the tenant's queue, ``usersequence_<tenant>``.

    Raises:
        InvalidTenant: the tenant id does not have the accepted form.
    """
    return QUEUE_PREFIX + validate_tenant(tenant)


def tenant_of(queue: str) -> str | None:
    """Return the tenant whose queue this is, or None if it is not a tenant queue.

    The inverse of [queue_name][taketurns.tenants.queue_name]; a queue of our prefix whose rest is no valid tenant
    id was made by somebody else and is none of ours.
    """
    if not queue.startswith(QUEUE_PREFIX):
        return None
    tenant = queue[len(QUEUE_PREFIX) :]
    return tenant if is_tenant(tenant) else None


def some_of(tenants: Collection[str]) -> str:
    """Return the first of some tenants by name, for people, and how many there are besides."""
    more = f" and {len(tenants) - _NAMED} more" if len(tenants) > _NAMED else ""
    return ", ".join(sorted(tenants)[:_NAMED]) + more


def tenant_by(queue: str) -> str:
    """Return the tenant of a queue that is served, and so has one."""
    return queue.removeprefix(QUEUE_PREFIX)


def owner_of_headers(headers: Mapping[str, Any] | None) -> str | None:
    """Return who submitted the task with these message headers, or None if they name no tenant."""
    given = headers or {}
    return given.get(OWNER_HEADER) or given.get(TENANT_HEADER) or None


@overload
def owner_by(headers: Mapping[Any, Any] | None, tenant: str) -> str: ...


@overload
def owner_by(headers: Mapping[Any, Any] | None, tenant: str | None) -> str | None: ...


def owner_by(headers: Mapping[Any, Any] | None, tenant: str | None) -> str | None:
    """Return who submitted a tenant's task: whom its message's headers name as the owner, else the tenant."""
    owner = (headers or {}).get(OWNER_HEADER)
    return owner if is_tenant(owner) else tenant
