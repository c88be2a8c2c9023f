"""What Redis remembers of tenants, workers and tasks."""

from taketurns.registry.registry import Registry
from taketurns.registry.tenant_settings import TenantSettings

__all__ = ["Registry", "TenantSettings"]
