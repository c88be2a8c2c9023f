"""Which tenant a submission is for, if its call names none. Pure: no I/O but what a team's own resolver does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from celery.utils.imports import qualname

from taketurns.errors import InvalidInput, MissingTenant, ResolverFailed
from taketurns.inheritance import current_owner
from taketurns.tenant_key import TenantKey, Whose
from taketurns.tenants import owner_of_headers, validate_tenant

TenantResolver: TypeAlias = Callable[[str, Sequence[Any], Mapping[str, Any], Mapping[str, Any]], str | None]
"""Tells the tenant of a submission by its task's name, its args, its kwargs and its message headers; None if they
don't tell. It is asked in the process that submits: a web server, a worker, beat. None of the four is to be changed.
"""


@dataclass(frozen=True, slots=True)
class Tenancy:
    """Decides which tenant a submission is for: first whose it is, then which tenant that owner is mapped to.

    The owner is the first of these that there is: the tenant that the call names, that of the message's headers (a
    retry's), what the resolver says, the tenant of the task that submits it, the default. The resolver comes before
    the running task: it knows this very call, and a task of one tenant that submits work for all is common.

    All of these name owners. So nothing is mapped twice, and what follows a task (a retry, the rest of a chain) is
    mapped as the key says then, not as it said when the task was submitted.

    Attributes:
        resolver: a team's own function, or None.
        default: the tenant of what has no other, or None for none.
        key: maps owners to tenants; by default each is its own.

    Raises:
        InvalidInput: the resolver can't be called with task, args, kwargs and headers, or is asynchronous.
        InvalidTenant: the default is no tenant id.
    """

    resolver: TenantResolver | None = None
    default: str | None = None
    key: TenantKey = field(default_factory=TenantKey)

    def __post_init__(self) -> None:
        if self.resolver is not None and not _can_be_asked(self.resolver):
            accepted = "a function of task (its name), args, kwargs and headers that returns a tenant or None"
            raise InvalidInput(self.resolver, accepted, field="tenant_resolver")
        if self.default is not None:
            validate_tenant(self.default, field="default_tenant")

    def whose(
        self, task: str, args: Any, kwargs: Any, headers: Mapping[str, Any], *, named: str | None = None
    ) -> Whose:
        """Return whose a submission is, and the tenant that it is for.

        Args:
            task: the task's name.
            args: its positional arguments, None for none.
            kwargs: its keyword arguments, None for none.
            headers: the headers of its message.
            named: the tenant that the call names, None for none.

        Raises:
            MissingTenant: there is none.
            InvalidTenant: it does not have the accepted form; if the resolver or the key has said it, ``field``
                tells so.
            ResolverFailed: the resolver raised an error.
            TenantKeyFailed: the key's function raised an error.
        """
        owner = named if named is not None else owner_of_headers(headers)
        if owner is None:
            owner = self.resolve(task, args, kwargs, headers) or current_owner() or self.default
        if owner is None:
            raise MissingTenant(task, self._name)
        return self.key.whose(validate_tenant(owner))

    def resolve(self, task: str, args: Any, kwargs: Any, headers: Mapping[str, Any]) -> str | None:
        """Return what the resolver says of a task, None without one; raises as [whose][] does."""
        if self.resolver is None:
            return None
        try:
            tenant = self.resolver(task, args or (), kwargs or {}, headers)
        except Exception as error:
            raise ResolverFailed(task, str(self._name), repr(error)) from error
        if tenant is None:
            return None
        return validate_tenant(tenant, field=f"what tenant_resolver {self._name} returned for task {task!r}")

    @property
    def _name(self) -> str | None:
        return None if self.resolver is None else qualname(self.resolver)


def _can_be_asked(resolver: Any) -> bool:
    if not callable(resolver) or inspect.iscoroutinefunction(resolver):
        return False
    try:
        inspect.signature(resolver).bind("", (), {}, {})
    except TypeError:
        return False
    except ValueError:  # one in C may not tell what it takes
        return True
    return True
