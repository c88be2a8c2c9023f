"""What the tests of the reaper say often."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

from pika import BasicProperties

from support.redis_keys import lose_keys
from taketurns.tenants import queue_name
from taketurns.topology import EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from pika.adapters.blocking_connection import BlockingChannel

    from support.workers import Ledger, Worker
    from taketurns import TakeTurns
    from taketurns.reaper.reaper import ReaperReport


@dataclass(frozen=True)
class ServedTenant:
    """A tenant of ``support.shop`` that a live worker serves."""

    name: str
    shop: Any
    worker: Worker
    ledger: Ledger
    eventually: Callable[..., None]

    def submit(self, label: str, seconds: float = 0.0) -> None:
        self.shop.work.apply_async((label, seconds), tenant=self.name)

    def has_run(self, *labels: str, within: float = 10.0) -> None:
        """Wait until just these tasks have run, in this order."""
        self.eventually(lambda: self.ledger.labels() == list(labels), within=within)


def queues(turns: TakeTurns) -> set[str]:
    """Return the tenants that have a queue."""
    return {name.removeprefix(queue_name("x")[:-1]) for name in turns.management.tenant_queues()}


def reasons(report: ReaperReport) -> dict[str, str]:
    """Return why each tenant's queue went or stayed."""
    return {each.tenant: each.reason for each in report.decisions}


def publish(turns: TakeTurns, tenant: str) -> None:
    """Publish some message for the tenant, as a process does that has known its queue for long."""
    turns.publisher.publish(b"{}", routing_key=queue_name(tenant), properties={})


def lose(channel: BlockingChannel, tenant: str, body: bytes = b"{}", **properties: Any) -> None:
    """Publish for a tenant without a queue, as a process that has not noticed its removal."""
    channel.basic_publish(EXCHANGE, queue_name(tenant), body, BasicProperties(**properties), mandatory=True)


def flush(turns: TakeTurns) -> None:
    """Have Redis lose all that it holds of this installation."""
    lose_keys(turns.settings.redis.redis_url, turns.settings.redis.redis_prefix)


def meanwhile(
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    method: str,
    *,
    before: Callable[[], object] | None = None,
    after: Callable[[], object] | None = None,
) -> None:
    """Have something happen right before or after each call of a method, which itself is done for real.

    The method may be one of the owner's parts: ``_workers.drain``.
    """
    *parts, name = method.split(".")
    owner = reduce(getattr, parts, owner)
    step = getattr(owner, name)

    def both(*args: Any, **options: Any) -> Any:
        if before is not None:
            before()
        result = step(*args, **options)
        if after is not None:
            after()
        return result

    monkeypatch.setattr(owner, name, both)
