"""The app of ``support.shop`` in a worker whose pool refuses the first task."""

from __future__ import annotations

from typing import Any

from celery import bootsteps

from support.shop import app


class FailingPool(bootsteps.Step):
    """Lets the pool raise once, where Celery has given the request its slot already."""

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        apply = consumer.pool.apply_async
        calls = iter(range(1_000_000))

        def fail_first(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == 0:
                raise ValueError("not this one")
            return apply(*args, **kwargs)

        consumer.pool.apply_async = fail_first  # before Celery's strategies remember it


app.steps["consumer"].add(FailingPool)
