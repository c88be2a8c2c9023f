"""Cancelling tasks: what waits never runs, and what runs is ended on request."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taketurns.conversation import Conversation
from taketurns.errors import TaketurnsError
from taketurns.records.lifecycle import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taketurns.extension import TakeTurns

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What came of an attempt to cancel tasks.

    Attributes:
        cancelled: tasks that will not start, by their ids.
        running: tasks that had started. They go on, unless they are among the terminated ones; and are not tried
            again.
        terminated: tasks that ran, and whose process was ended.
        silent: workers that did not answer. What one of them had started goes on.
    """

    cancelled: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    terminated: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


def cancel(turns: TakeTurns, tenant: str, task_ids: Sequence[str], *, terminate: bool) -> Cancellation:
    """Cancel tasks of a tenant that have not come to their end; may be repeated.

    A message stays in its queue until its turn, when a worker throws it away, which costs neither a slot nor a token.

    Raises:
        RegistryUnavailable: Redis is away; nothing is cancelled, as workers that start later would not know of it.
        BrokerUnavailable: the workers can't be asked. Those that are there know within a second all the same.
    """
    if not task_ids:
        return Cancellation()
    turns.registry.cancellations.add(task_ids)
    workers = turns.registry.workers()
    with Conversation(turns.app, timeout=turns.settings.broker.publish_timeout) as conversation:
        answers = conversation.ask(
            workers, "taketurns_cancel", {"ids": list(task_ids), "terminate": terminate}
        )
    running = {task_id for answer in answers.values() for task_id in answer["running"]}
    terminated = {task_id for answer in answers.values() for task_id in answer["terminated"]}
    now = time.time()
    cancelled = [task_id for task_id in task_ids if task_id not in running]
    # Whoever has the task tells of its end better: this is a request, which no worker may answer for days.
    steps = [Step(task_id, "cancelled", now, asked=True) for task_id in cancelled]
    turns.records.write({tenant: steps})
    _fail_dependants(turns, tenant, cancelled)
    return Cancellation(
        tuple(cancelled),
        tuple(sorted(running)),
        tuple(sorted(terminated)),
        tuple(sorted(set(workers) - answers.keys())),
    )


def _fail_dependants(turns: TakeTurns, tenant: str, task_ids: Sequence[str]) -> None:
    """Have those that depend on cancelled tasks come to their end too; if that fails the reaper sees to it."""
    try:
        turns.dependencies.ended({tenant: dict.fromkeys(task_ids, "CANCELLED")})
    except TaketurnsError as error:
        logger.warning("what depends on cancelled tasks of %s is seen to later: %s", tenant, error)
