"""Apps inside the test's own process, which only submit."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

from celery import Celery
from celery.backends.redis import RedisBackend

from support.workers import environment
from taketurns import TakeTurns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.settings import Settings


def close(app: Celery) -> None:
    """Close the connections that the app has opened in this process."""
    TakeTurns.of(app).close()
    close_stock(app)


def close_stock(app: Celery) -> None:
    """Close those of an app that has no taketurns."""
    if isinstance(app.backend, RedisBackend):
        app.backend.result_consumer.stop()
        app.backend.result_consumer._pubsub = None  # or a result that is garbage would connect it again
        app.backend.client.connection_pool.disconnect()
    app.pool.force_close_all()
    app.close()


@contextmanager
def installed(settings: Settings) -> Iterator[TakeTurns]:
    """Lend the extension of a new app, which these settings lead to a test's own vhost and key prefix."""
    with Celery("installed", set_as_current=False) as app:
        turns = TakeTurns(app, settings)
        yield turns
        turns.close()
        turns.management.close()


@contextmanager
def shop_for(settings: Settings) -> Iterator[Any]:
    """Import ``support.shop`` anew for one test's vhost and key prefix."""
    sys.modules.pop("support.shop", None)
    with mock.patch.dict("os.environ", environment(settings), clear=True):
        module = importlib.import_module("support.shop")
    try:
        yield module
    finally:
        close(module.app)
        sys.modules.pop("support.shop", None)
