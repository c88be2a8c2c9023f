"""An installation in which every tenant with an activity record counts as idle at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pika
import pytest

from support.publishing import shop_for
from support.workers import Ledger
from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from support.servers import Broker
    from taketurns import TakeTurns
    from taketurns.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    quick = {"idle_time": 0.0, "confirm_timeout": 2.0, "drain_expiry": 10.0}
    return replace(settings, reaper=settings.reaper.model_copy(update=quick))


@pytest.fixture
def shop(settings: Settings) -> Iterator[Any]:
    with shop_for(settings) as module:
        yield module


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return Ledger(settings)


@pytest.fixture
def channel(broker: Broker) -> Iterator[BlockingChannel]:
    """A client that is not Celery."""
    with pika.BlockingConnection(pika.URLParameters(broker.amqp_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


@pytest.fixture
def run_first_task(
    shop: Any, turns: TakeTurns, ledger: Ledger, eventually: Callable[..., None]
) -> Callable[[], None]:
    """Return a function that has a worker run acme's task "first" to its very end, the acknowledgement."""

    def run() -> None:
        shop.work.apply_async(("first",), tenant="acme")
        eventually(lambda: ledger.labels() == ["first"])
        name = queue_name("acme")
        eventually(lambda: turns.management.tenant_queues()[name].unacknowledged == 0)

    return run
