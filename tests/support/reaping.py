"""What the tests of the reaper say often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from taketurns import TakeTurns
    from taketurns.reaper.reaper import ReaperReport


def queues(turns: TakeTurns) -> set[str]:
    """Return the tenants that have a queue."""
    return {name.removeprefix(queue_name("x")[:-1]) for name in turns.management.tenant_queues()}


def reasons(report: ReaperReport) -> dict[str, str]:
    """Return why each tenant's queue went or stayed."""
    return {each.tenant: each.reason for each in report.decisions}


def publish(turns: TakeTurns, tenant: str) -> None:
    """Publish some message for the tenant, as a process does that has known its queue for long."""
    turns.publisher.publish(b"{}", routing_key=queue_name(tenant), properties={})


def flush(turns: TakeTurns) -> None:
    """Have Redis lose all that it holds of this installation."""
    turns.store.call(lambda redis: redis.delete(*redis.scan_iter(match=f"{turns.store.key('')}*")))


def meanwhile(
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    *,
    before: Callable[[], object] | None = None,
    after: Callable[[], object] | None = None,
) -> None:
    """Have something happen right before or after each call of a method, which itself is done for real."""
    step = getattr(owner, name)

    def both(*args: Any, **options: Any) -> Any:
        if before is not None:
            before()
        result = step(*args, **options)
        if after is not None:
            after()
        return result

    monkeypatch.setattr(owner, name, both)
