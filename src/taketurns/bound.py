"""A TenantTask together with its tenant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Task
    from celery.canvas import Signature
    from celery.result import AsyncResult


@dataclass(frozen=True, slots=True)
class BoundTask:
    """A task for one tenant: ``thumbnail.for_tenant("acme")``."""

    task: Task
    tenant: str

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Submit the task with these arguments; raises what ``apply_async`` does."""
        return self.apply_async(args, kwargs)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult:
        """Submit the task with options; see [TenantTask.apply_async][taketurns.task.TenantTask.apply_async]."""
        return self.task.apply_async(args, kwargs, tenant=self.tenant, **options)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the task here and now."""
        return self.task.apply(args, kwargs, tenant=self.tenant, **options)

    def signature(self, args: Any = None, *more: Any, **options: Any) -> Signature:
        """Return a signature that carries the tenant."""
        return self.task.signature(args, *more, **options).set(tenant=self.tenant)

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """Return a signature of these arguments that carries the tenant."""
        return self.signature(args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """Return an immutable signature of these arguments that carries the tenant."""
        return self.signature(args, kwargs, immutable=True)
