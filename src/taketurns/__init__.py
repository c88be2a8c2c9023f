"""Celery on RabbitMQ with a durable queue for every tenant, served in turn."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taketurns.errors import (
        BacklogFull,
        BrokerUnavailable,
        InvalidInput,
        InvalidTenant,
        MissingTenant,
        PublishNotConfirmed,
        ResolverFailed,
        TaketurnsError,
        TenantExists,
        TenantInUse,
        UnknownTenant,
    )
    from taketurns.extension import TakeTurns
    from taketurns.settings import Settings
    from taketurns.task import TenantTask
    from taketurns.weights import TenantShare

__version__ = "0.1.0"

__all__ = [
    "BacklogFull",
    "BrokerUnavailable",
    "InvalidInput",
    "InvalidTenant",
    "MissingTenant",
    "PublishNotConfirmed",
    "ResolverFailed",
    "Settings",
    "TakeTurns",
    "TaketurnsError",
    "TenantExists",
    "TenantInUse",
    "TenantShare",
    "TenantTask",
    "UnknownTenant",
    "__version__",
]

_MODULES = {"TakeTurns": "extension", "TenantTask": "task", "Settings": "settings", "TenantShare": "weights"}


def __getattr__(name: str) -> Any:
    # Imported at first use: a program that only asks for the version need not load Celery.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
