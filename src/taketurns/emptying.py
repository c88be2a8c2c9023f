"""Emptying a tenant's queue: each of its tasks is cancelled, and everybody told, before its message is gone."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kombu.transport.pyamqp import Message as Decodable

from taketurns.errors import TaketurnsError
from taketurns.outcomes import Outcomes, request_of
from taketurns.progress import Step as Progress
from taketurns.records.lifecycle import Step
from taketurns.records.record import written_error
from taketurns.taking import taking
from taketurns.tenants import owner_by, queue_name
from taketurns.worker.inspection import problem_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from amqp import Message

    from taketurns.extension import TakeTurns
    from taketurns.records.lifecycle import Stored
    from taketurns.taking import Taker

logger = logging.getLogger(__name__)

PURGED: Final = "purged"
"""The error in the record of a task that was thrown away with all that waited."""

_RENEWED_EVERY: Final = 3.0
"""Seconds between two times at which the workers are told to keep away."""

_PATIENCE: Final = 5.0
"""Seconds for one result after which the result backend counts as away: each of the others would take as long."""

_LEARNT_WITHIN: Final = 2.0
"""Seconds until every worker knows of a cancellation, each of which looks once a second."""

_PURPOSE: Final = "what is to be thrown away"


@dataclass(frozen=True, slots=True)
class _Cancelled:
    """A task that is thrown away: the headers and the decoded body of its message, its owner, and the app's task."""

    headers: Mapping[str, Any]
    payload: Any
    owner: str
    task: Any
    is_recorded: bool

    @property
    def id(self) -> str:
        return str(self.headers["id"])


class Emptying:
    """Empties the queue of a tenant of which nobody serves anything meanwhile. For one thread.

    The messages are taken some at a time. Their tasks are cancelled, so that no worker starts one whose message goes
    back to the queue; then their records say so, and the result backend; then they are acknowledged. If this process
    dies in the middle, each task is either told and gone, or still there. A few hundred of the last may be told and
    still there: a worker throws their messages away.

    What is no task is thrown away untold; of tasks that are not recorded the result backend is told.

    Args:
        turns: the installed extension.
        reason: why, for the records.
        renew: keeps the workers away for longer; called every three seconds.
        progress: told before the first message, and whenever some are gone. What it raises ends the work there.

    Attributes:
        parents: the tasks of those that are gone for which others wait, each with its owner.
    """

    def __init__(
        self,
        turns: TakeTurns,
        *,
        reason: str,
        renew: Callable[[], None],
        progress: Callable[[Progress], None],
    ) -> None:
        self._turns = turns
        self._reason = reason
        self._renew = renew
        self._progress = progress
        self._renewed_at = time.monotonic()
        self._has_results = True
        self._untidy: deque[tuple[int, list[str]]] = deque()
        self.parents: list[tuple[str, str]] = []

    def empty(self, tenant: str) -> int:
        """Throw away as many messages as wait in the tenant's queue at this moment, and return how many that were.

        Raises:
            BrokerUnavailable: RabbitMQ is away; what was not thrown away is in the queue again.
            RegistryUnavailable: Redis is away; the same.
        """
        queue = queue_name(tenant)
        total = self._turns.publisher.waiting(queue)
        gone = 0
        self._progress(Progress(0, total, 0))
        if total:
            self._turns.app.loader.import_default_modules()  # they tell which tasks are recorded
            seconds = self._turns.settings.broker.publish_timeout
            try:
                with taking(self._turns.app, queue, seconds=seconds, purpose=_PURPOSE) as taker:
                    while gone < total and (messages := taker.take(total - gone)):
                        self._throw_away(tenant, messages, taker)
                        gone += len(messages)
                        self._progress(Progress(gone, total, gone))
            except TaketurnsError:
                time.sleep(_LEARNT_WITHIN)  # some that were cancelled are in the queue again
                raise
            self._tidy()
        return gone

    def _throw_away(self, tenant: str, messages: Sequence[Message], taker: Taker) -> None:
        cancelled = [task for message in messages if (task := self._read(message, tenant)) is not None]
        ids = [each.id for each in cancelled]
        self._turns.registry.cancellations.add(ids)
        self._tell(cancelled)
        self._keep_away()
        self._untidy.append((taker.acknowledge(), ids))
        self._tidy(taker.settled)

    def _read(self, message: Message, tenant: str) -> _Cancelled | None:
        """Return a message's task; None: it is none."""
        decodable: Any = Decodable(message, accept={"application/json"})
        if problem_of(decodable) is not None:
            return None
        headers = decodable.headers
        task = self._turns.app.tasks.get(headers["task"])
        owner = owner_by(headers, tenant)
        return _Cancelled(headers, decodable.payload, owner, task, self._turns.recorder.keeps(task))

    def _tell(self, cancelled: Sequence[_Cancelled]) -> None:
        """Tell the records, the result backend, and who waits for these tasks."""
        by_owner: dict[str, list[str]] = {}
        for each in cancelled:
            if each.is_recorded:
                by_owner.setdefault(each.owner, []).append(each.id)
        for owner, ids in by_owner.items():
            self._turns.records.write({owner: [self._step(task_id) for task_id in ids]})
        for each in cancelled:
            self._keep_away()
            self._revoke(each)
        ends: dict[str, dict[str, Stored]] = {
            owner: dict.fromkeys(ids, "CANCELLED") for owner, ids in by_owner.items()
        }
        self.parents += self._turns.dependencies.note(ends)

    def _step(self, task_id: str) -> Step:
        error = written_error(PURGED, self._reason)
        told = {"error": PURGED, "message": self._reason}
        # It is as a request: a task that has ended, and whose message came back, has the end that it had.
        return Step(task_id, "cancelled", time.time(), data=told, fields={"error": error}, asked=True)

    def _revoke(self, cancelled: _Cancelled) -> None:
        """Have the result backend say REVOKED, as it does when a worker meets a task that is cancelled."""
        if not self._has_results:
            return
        began = time.monotonic()
        try:
            request = request_of(cancelled.headers, cancelled.payload)
            task = cancelled.task
            keeps_errors = task is not None and task.store_errors_even_if_ignored
            Outcomes((task or self._turns.app).backend).mark_as_revoked(
                cancelled.id,
                f"{PURGED}: {self._reason}",
                request=request,
                store_result=not request.ignore_result or keeps_errors,
            )
        except Exception:  # headers that Celery can't read, and a chord that can't be told
            logger.exception("that task %s is revoked is not in the result backend", cancelled.id)
        if time.monotonic() - began > _PATIENCE:
            logger.warning(
                "the result backend does not answer; it is not told of the other tasks that are purged"
            )
            self._has_results = False

    def _keep_away(self) -> None:
        now = time.monotonic()
        if now - self._renewed_at > _RENEWED_EVERY:
            self._renewed_at = now
            self._renew()

    def _tidy(self, settled: int | None = None) -> None:
        """Forget the cancellations of tasks whose messages are gone: up to this one, or all."""
        while self._untidy and (settled is None or self._untidy[0][0] <= settled):
            _, ids = self._untidy.popleft()
            self._turns.registry.cancellations.discard(ids)


def let_go(turns: TakeTurns, parents: Sequence[tuple[str, str]]) -> None:
    """Have those that depend on tasks which are gone come to their end too; if that fails the reaper sees to it."""
    try:
        turns.dependencies.let_go(parents)
    except TaketurnsError as error:
        logger.warning("what depends on tasks that were purged is seen to later: %s", error)
