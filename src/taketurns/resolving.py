"""Which tenant a submission is for, if its call names none. Pure: no I/O but what a team's own resolver does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from celery.utils.imports import qualname

from taketurns.errors import InvalidInput, MissingTenant, ResolverFailed
from taketurns.inheritance import current_tenant
from taketurns.tenants import TENANT_HEADER, validate_tenant

TenantResolver: TypeAlias = Callable[[str, Sequence[Any], Mapping[str, Any], Mapping[str, Any]], str | None]
"""Tells the tenant of a submission by its task's name, its args, its kwargs and its message headers; None if they
don't tell. It is asked in the process that submits: a web server, a worker, beat. None of the four is to be changed.
"""


@dataclass(frozen=True, slots=True)
class Tenancy:
    """Decides which tenant a submission is for.

    The first of these that there is: the tenant that the call names, that of the message's headers (a retry's), what
    the resolver says, the tenant of the task that submits it, the default. The resolver comes before the running
    task: it knows this very call, and a task of one tenant that submits work for all is common.

    Attributes:
        resolver: a team's own function, or None.
        default: the tenant of what has no other, or None for none.

    Raises:
        InvalidInput: the resolver can't be called with task, args, kwargs and headers, or is asynchronous.
        InvalidTenant: the default is no tenant id.
    """

    resolver: TenantResolver | None = None
    default: str | None = None

    def __post_init__(self) -> None:
        if self.resolver is not None and not _can_be_asked(self.resolver):
            accepted = "a function of task (its name), args, kwargs and headers that returns a tenant or None"
            raise InvalidInput(self.resolver, accepted, field="tenant_resolver")
        if self.default is not None:
            validate_tenant(self.default, field="default_tenant")

    def tenant_for(
        self, task: str, args: Any, kwargs: Any, headers: Mapping[str, Any], *, named: str | None = None
    ) -> str:
        """Return the tenant that a submission is for.

        Args:
            task: the task's name.
            args: its positional arguments, None for none.
            kwargs: its keyword arguments, None for none.
            headers: the headers of its message.
            named: the tenant that the call names, None for none.

        Raises:
            MissingTenant: there is none.
            InvalidTenant: it does not have the accepted form; if the resolver has said it, ``field`` tells so.
            ResolverFailed: the resolver raised an error.
        """
        given = named if named is not None else headers.get(TENANT_HEADER) or None
        if given is not None:
            return validate_tenant(given)
        tenant = self.resolve(task, args, kwargs, headers) or current_tenant() or self.default
        if tenant is None:
            raise MissingTenant(task, self._name)
        return validate_tenant(tenant)

    def resolve(self, task: str, args: Any, kwargs: Any, headers: Mapping[str, Any]) -> str | None:
        """Return what the resolver says of a task, None without one; raises as [tenant_for][] does."""
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
