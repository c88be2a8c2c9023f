"""Connections to RabbitMQ: few for many submissions at a time, and nothing stays of one that is lost."""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from amqp.exceptions import RecoverableConnectionError

from support.connected import rabbitmq_connections, redis_user
from support.publishing import installed
from taketurns import TenantTask
from taketurns.connections import PublishConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.servers import Broker
    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

THREADS = 200


def test_many_threads_submit_at_once(settings: Settings, broker: Broker, eventually: Eventually) -> None:
    """Each of 200 threads has its task in the queue of its tenant, who was unknown before, or one of ten."""
    start = Barrier(THREADS)
    with redis_user(settings.redis.redis_url) as user:
        patience = {"publish_timeout": 30.0}  # a hundred queues are declared, one by one
        own = replace(
            settings,
            broker=settings.broker.model_copy(update=patience),
            redis=settings.redis.model_copy(update={"redis_url": user.url}),
        )
        with installed(own) as turns:

            @turns.app.task(base=TenantTask, name="work", shared=False)
            def work(label: str) -> str:
                return label

            def submit(number: int) -> str:
                tenant = f"new{number}" if number % 2 else f"t{number % 10}"
                start.wait(30)
                work.apply_async((f"{number}",), tenant=tenant)
                return f"usersequence_{tenant}"

            with ThreadPoolExecutor(THREADS) as pool:
                expected = Counter(pool.map(submit, range(THREADS)))
            assert 1 <= user.connections() <= settings.redis.redis_connections
            eventually(
                lambda: {name: q.ready for name, q in turns.management.tenant_queues().items()} == expected
            )
            eventually(lambda: rabbitmq_connections(broker) > 0)
            assert rabbitmq_connections(broker) <= settings.broker.publish_connections
            assert len(turns.registry.activity()) == len(expected)  # Redis was told of each


@pytest.mark.parametrize("kind", ["publishing", "any other"])
def test_a_lost_connection_gives_its_memory_back(kind: str, turns: TakeTurns) -> None:
    """At once: py-amqp's own, of 128 KiB, stays until Python looks for cycles among its oldest objects."""
    connection = PublishConnection.of(turns.app) if kind == "publishing" else turns.app.connection_for_write()
    sizes = []
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(10):
            connection.ensure_connection(max_retries=1)
            lost = connection.connection
            connection.collect()
            with pytest.raises(RecoverableConnectionError):
                lost.send_heartbeat()
            del lost
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        gc.enable()
    assert sizes[-1] - sizes[0] < 131_072
