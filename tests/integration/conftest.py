"""What the tests of several parts need: clients of a test's own vhost and key prefix."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from pika import BlockingConnection, URLParameters

from support.canvas import build
from support.publishing import close, installed, shop_for
from support.workers import Ledger
from taketurns import TenantTask
from taketurns.limits.limiter import Limiter
from taketurns.settings import LimiterSettings, RedisSettings
from taketurns.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery
    from pika.adapters.blocking_connection import BlockingChannel

    from support.servers import Broker, Servers
    from taketurns import TakeTurns
    from taketurns.settings import Settings


@pytest.fixture
def amqp(broker: Broker) -> Iterator[BlockingChannel]:
    """A client that is not Celery."""
    with closing(BlockingConnection(URLParameters(broker.amqp_url))) as connection:
        yield connection.channel()


@pytest.fixture
def turns(settings: Settings) -> Iterator[TakeTurns]:
    """The extension of an app of this process."""
    with installed(settings) as extension:
        yield extension


@pytest.fixture
def app(settings: Settings) -> Iterator[Celery]:
    """The app of ``support.canvas``."""
    app = build(settings)
    yield app
    close(app)


@pytest.fixture
def work(turns: TakeTurns) -> Any:
    """A task of the app of ``turns``, which is only submitted."""

    @turns.app.task(base=TenantTask, name="work", shared=False)
    def work(label: str) -> str:
        return label

    return work


@pytest.fixture
def shop(settings: Settings) -> Iterator[Any]:
    """The app of support.shop, as a publisher in this process: the same tasks on this test's own vhost."""
    with shop_for(settings) as module:
        yield module


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return Ledger(settings)


@pytest.fixture
def store(servers: Servers, redis_prefix: str) -> Iterator[Store]:
    with Store(RedisSettings(redis_url=servers.redis_url, redis_prefix=redis_prefix)) as store:
        yield store


@pytest.fixture
def limiter(store: Store) -> Limiter:
    return Limiter(store, LimiterSettings())
