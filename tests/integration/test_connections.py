"""Many submissions at a time go through few connections: none fails for want of one, and none is lost."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import TYPE_CHECKING

from support.connected import rabbitmq_connections, redis_user
from support.publishing import installed
from taketurns import TenantTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.servers import Broker
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
