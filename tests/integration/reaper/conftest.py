"""An installation in which every tenant with an activity record counts as idle at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from support.reaping import ServedTenant
from support.workers import Ledger, worker
from taketurns.reaper.recover import Recoverer, RecoverReport
from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from taketurns import TakeTurns
    from taketurns.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    quick = {"idle_time": 0.0, "confirm_timeout": 2.0, "drain_expiry": 10.0}
    return replace(settings, reaper=settings.reaper.model_copy(update=quick))


@pytest.fixture
def channel(amqp: BlockingChannel) -> BlockingChannel:
    """A client that is not Celery, and whose messages are confirmed."""
    amqp.confirm_delivery()
    return amqp


@pytest.fixture
def acme(
    shop: Any,
    turns: TakeTurns,
    settings: Settings,
    ledger: Ledger,
    tmp_path: Path,
    eventually: Callable[..., None],
) -> Iterator[ServedTenant]:
    """A tenant that a worker serves and whose task "first" has come to its very end, the acknowledgement.

    While the worker stands still it counts as alive for half a minute.
    """
    options = ("-P", "threads", "-c", "2")
    with worker(settings, tmp_path, *options, TAKETURNS_WORKER_HEARTBEAT_INTERVAL="10") as process:
        tenant = ServedTenant("acme", shop, process, ledger, eventually)
        tenant.submit("first")
        tenant.has_run("first")
        name = queue_name("acme")
        eventually(lambda: turns.management.tenant_queues()[name].unacknowledged == 0)
        yield tenant


@pytest.fixture
def recoverer(turns: TakeTurns) -> Iterator[Recoverer]:
    recoverer = Recoverer(turns)
    assert recoverer.run_once() == RecoverReport()  # and the shared topology is there
    yield recoverer
    recoverer.close()
