"""The end of a worker's work: what it has begun is finished, and all else goes back."""

from __future__ import annotations

import math
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from celery.concurrency.prefork import TaskPool
from celery.utils.log import get_logger
from celery.worker import state

from taketurns.worker import stopping

if TYPE_CHECKING:
    from taketurns.worker.dispatcher import Dispatcher
    from taketurns.worker.gate import Gate

logger = get_logger(__name__)

_ORPHANED: Final = 5.0
"""Seconds after which a task that no process has taken is waited for no longer."""


def hand_over(consumer: Any, dispatcher: Dispatcher, gate: Gate) -> None:
    """Give the hand back, and keep the loop turning until processes have all that is on the way to them.

    Celery is about to have the pool forget what no process has accepted yet, although the pipe to a process may hold
    it: it would run there, unknown here, and once more elsewhere; and its process would wait for half a minute before
    it ends, since nobody here notes that the task did. Ordinary tasks are no different, and from here on none is
    begun: their messages go back with their channel.
    """
    deadline = monotonic() + _ORPHANED
    try:
        consumer.task_consumer.on_message = _leave
        dispatcher.give_back_all()
        loop = consumer.hub.create_loop()
        while (
            (gate.has_unaccepted() or _has_unaccepted(consumer.pool))
            and monotonic() < deadline
            and not _terminating()
        ):
            next(loop)
    except consumer.connection_errors as error:
        _log_lost(error)


def finish(consumer: Any, dispatcher: Dispatcher, grace: float | None) -> None:
    """Keep the loop turning until the running tasks have settled.

    Args:
        consumer: Celery's consumer.
        dispatcher: knows the tasks.
        grace: seconds that they have before they go back; None is as long as they take.
    """
    try:
        loop = consumer.hub.create_loop()
        alive = began = monotonic()
        while dispatcher.turns.running and not _terminating():
            next(loop)
            if monotonic() - began > (grace or math.inf):
                logger.warning("%d tasks still run after %g s of grace", dispatcher.turns.running, grace)
                stopping.stop_now()
            _give_up_lost_tasks(consumer.pool)
            if state.active_requests:
                alive = monotonic()
            elif monotonic() - alive > _ORPHANED:
                # Handed to a pool process that died: a pool that is closing starts no other in its place.
                logger.warning("%d tasks never began and go back", dispatcher.turns.running)
                break
    except consumer.connection_errors as error:
        _log_lost(error)


def _leave(_message: Any) -> None:
    """Begin nothing with a message that comes now."""


def _has_unaccepted(pool: Any) -> bool:
    """Tell whether a prefork process was sent a task and has not said that it has it."""
    if not isinstance(pool, TaskPool) or pool._pool is None:  # noqa: SLF001  # Celery has no other way
        return False
    jobs = pool._pool._cache.values()  # noqa: SLF001  # the same
    return any(job._write_to is not None and not job._accepted for job in jobs)  # noqa: SLF001  # the same


def _give_up_lost_tasks(pool: Any) -> None:
    """Have a prefork pool tell which tasks lost their process, as a closing one does not by itself.

    It looks after its processes only while it is open, though a signal to the process group ends them as well: such a
    task would be waited for without end. This is its own way of looking, without the part that starts others.
    """
    if isinstance(pool, TaskPool) and pool._pool is not None:  # noqa: SLF001  # None: a second signal has ended it
        pool._pool._join_exited_workers()  # noqa: SLF001  # billiard has no other way


def _log_lost(error: Exception) -> None:
    logger.warning("connection lost while stopping, running tasks will be run again: %r", error)


def _terminating() -> bool:
    return state.should_terminate not in (None, False)
