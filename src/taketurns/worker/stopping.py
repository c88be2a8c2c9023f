"""Stopping now: what a second signal does, and a grace period that has passed.

Celery ignores a second SIGTERM. And it can end a running task in the prefork pool only: with the others its cold
shutdown raises in the middle, and waits for the task all the same. (One that no process of the prefork pool has
accepted yet is not ended either, but waited for, until a third signal.)
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from celery import signals
from celery.apps.worker import install_worker_term_hard_handler, on_cold_shutdown, safe_say
from celery.concurrency.prefork import TaskPool
from celery.platforms import EX_FAILURE
from celery.utils.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

logger = get_logger(__name__)

_SIGNALS: Final = ("SIGTERM", "SIGINT", "SIGQUIT")


def install(consumer: Any) -> None:
    """Have SIGQUIT end the worker's tasks, and after a first SIGTERM or SIGINT these two as well.

    Args:
        consumer: Celery's consumer; may be installed anew for the next one.
    """
    callback = _cold_shutdown(consumer)
    install_worker_term_hard_handler(consumer.controller, sig="SIGQUIT", callback=callback)

    def arm(how: str, **_: Any) -> None:
        if how == "Warm":
            for name in _SIGNALS:
                install_worker_term_hard_handler(consumer.controller, sig=name, callback=callback)
            safe_say("worker: the running tasks end first; another signal stops now", sys.__stdout__)

    signals.worker_shutting_down.connect(arm, weak=False, dispatch_uid="taketurns stopping")


def stop_now() -> None:
    """Do what a second signal would."""
    os.kill(os.getpid(), signal.SIGQUIT)


def _cold_shutdown(consumer: Any) -> Callable[[Any], None]:
    return on_cold_shutdown if isinstance(consumer.pool, TaskPool) else lambda _: _leave(consumer)


def _leave(consumer: Any) -> None:
    """End the process, in the middle of its tasks. The broker gives their messages to others."""
    logger.warning("stopping now: the running tasks go back to RabbitMQ, and are run again by others")
    connection, consumer.connection = consumer.connection, None
    if connection is not None:
        connection.collect()
    logging.shutdown()
    os._exit(EX_FAILURE)
