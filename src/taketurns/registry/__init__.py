"""What Redis remembers of tenants, workers and tasks."""

from taketurns.registry.registry import Registry
from taketurns.registry.tenant_settings import TaskRecord, TenantSettings

__all__ = ["Registry", "TaskRecord", "TenantSettings"]
