"""The gate: where a message that has its turn is admitted to a slot, refused by the limiter, or found poisonous."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.exceptions import NotRegistered
from celery.utils.log import get_logger
from celery.worker import state
from vine import promise

from taketurns.deadletters.letter import Death
from taketurns.errors import CrashLoop, TaketurnsError
from taketurns.locks.singleton import DROPPED, why_dropped
from taketurns.outcomes import report_failure, request_of
from taketurns.records.lifecycle import FINAL
from taketurns.running import ADMITTED_HEADER
from taketurns.sending_on import REDELIVERED_HEADER
from taketurns.worker.cancelled import Cancelled
from taketurns.worker.comebacks import Comebacks
from taketurns.worker.departures import Departures
from taketurns.worker.endings import Endings
from taketurns.worker.inspection import has_expired, is_named, problem_of
from taketurns.worker.singletons import AGAIN, Singletons
from taketurns.worker.slots import release
from taketurns.worker.throttle import PASSED, Throttle, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from taketurns.extension import TakeTurns
    from taketurns.records.lifecycle import Kind, Stored
    from taketurns.worker.background import Background
    from taketurns.worker.journal import Journal
    from taketurns.worker.messages import TenantMessage

logger = get_logger(__name__)


class Gate:
    """Admits messages and hands them to Celery.

    Args:
        turns: the installed extension, for limiter and publisher.
        consumer: Celery's consumer, for its strategies, pool and events.
        background: runs what would block the loop.
        owner: this worker's name, under which it claims tokens.
        journal: where the steps of tasks are noted; None: they are not recorded.
        depending: owners whose tasks' ends are written down before their messages are let go.

    Attributes:
        throttle: the limits.
        requests: Celery's request of each message that it has accepted.
        leaving: messages that go elsewhere; see [Departures][taketurns.worker.departures.Departures].
        recording: messages whose tasks have ended, and that are let go once that is written down. Others may run
            meanwhile, as many as there are slots.
        endings: how tenants' tasks have ended.
        cancelled: tasks that are not to start.
    """

    def __init__(
        self,
        turns: TakeTurns,
        consumer: Any,
        background: Background,
        owner: str,
        journal: Journal | None = None,
        depending: Container[str] = frozenset(),
    ) -> None:
        self._turns = turns
        self._consumer = consumer
        self._background = background
        self._journal = journal
        self._depending = depending
        self.throttle = Throttle(turns, owner)
        self._singletons = Singletons(turns, background)
        self._comebacks = Comebacks(turns, background)
        self._departures = Departures(turns, consumer, background)
        self.requests: dict[TenantMessage, Any] = {}
        self.leaving = self._departures.leaving
        self.recording: set[TenantMessage] = set()
        self.endings = Endings()
        self.cancelled = Cancelled(turns.registry.cancellations)

    def start(self, message: TenantMessage, others_wait: Callable[[str], bool]) -> Verdict:
        """Admit the message and hand it to Celery, or put it away; nothing of it is lost in either case.

        Args:
            message: the message that has its turn.
            others_wait: tells whether any other tenant waits for this worker.
        """
        try:
            return self._start(message, others_wait)
        except self._consumer.connection_errors:
            raise
        except Exception as error:  # whatever is in a message must not end the worker
            logger.exception("a message of %s can't be handled", message.queue)
            self._refuse(message, error)
            return PASSED

    def _start(self, message: TenantMessage, others_wait: Callable[[str], bool]) -> Verdict:
        name = message.headers.get("task")
        problem = problem_of(message)
        if problem is not None:
            self._put_away(message, Death("malformed", problem), lambda: self._discard(message))
            return PASSED
        task = self._consumer.app.tasks.get(name)
        if task is None:
            error = NotRegistered(name)
            self._put_away(
                message,
                Death("unknown_task", f"unknown task {name!r}"),
                lambda: self._consumer.on_unknown_task(None, message, error),
            )
            return PASSED
        eta = message.headers.get("eta")
        if eta is not None:
            self._delay(message, str(eta))
            return PASSED
        is_recorded = self._journal is not None and getattr(task, "recorded", False)
        gone_on = self._comebacks.gone_on(message) if is_recorded else None
        if gone_on is not None:
            self._let_go_unrun(message, gone_on)
            return PASSED
        return self._admit(message, task, others_wait)

    def cancel(self, ids: Sequence[str], *, terminate: bool) -> dict[str, list[str]]:
        """Start none of these tasks any more; see [cancel][taketurns.worker.step.TenantQueues.cancel]."""
        self.cancelled.add(ids)
        wanted = set(ids)
        begun = [request for request in self.requests.values() if request.id in wanted]
        terminated = []
        for request in begun if terminate else ():
            try:
                request.terminate(self._consumer.pool)
            except NotImplementedError:
                break  # threads can't be ended, and solo hears of this when its task has ended
            terminated.append(request.id)
        return {"running": [request.id for request in begun], "terminated": terminated}

    def goes_back(self, message: TenantMessage) -> None:
        """Note that a message that was not started here goes back to its queue."""
        self._comebacks.goes_back(message)

    def has_unaccepted(self) -> bool:
        """Tell whether a task was handed to the pool of which no process or thread has said that it has it."""
        return any(
            request in state.reserved_requests and request not in state.active_requests
            for request in self.requests.values()
        )

    def settled(self, message: TenantMessage) -> bool:
        """Release what the message's admission took; True if the tenant may run another task for it."""
        self.requests.pop(message, None)
        self.leaving.discard(message)
        self.recording.discard(message)
        was_alone = self._singletons.settled(message)
        return self.throttle.settled(message) or was_alone

    def forget_lost(self) -> None:
        """Release what was handed to the pool on a connection that is lost, and that no process or thread has taken.

        Celery has the pool forget it then, and never settles its message; another worker may run it.
        """
        self._comebacks.forget_lost()
        for message, request in tuple(self.requests.items()):
            if not message.is_ours and request not in state.active_requests:
                self.settled(message)

    def _admit(self, message: TenantMessage, task: Any, others_wait: Callable[[str], bool]) -> Verdict:
        """Hand a message to Celery that is to run now, if its lock and its limits let it."""
        # What is over is not run, so it takes no token: Celery reports and acknowledges it.
        over = self._end_of(message)
        if over is not None:
            self._note(message, task, over)
        # The lock first: it is given back, a token is not.
        busy = None if over else self._singletons.enter(message, task)
        if busy == "soon":
            return Verdict(admitted=False, retry_after=AGAIN)
        if busy is not None:
            put = self._drop if busy == "drop" else self._departures.put_off
            put(message, task)
            return PASSED
        verdict = PASSED if over else self.throttle.admit(message, task, others_wait)
        if not verdict.admitted:
            self._singletons.leave(message)
            return verdict
        starts = 0 if over else self._comebacks.count_start(message)
        if starts >= self._turns.settings.worker.max_starts:
            self._end_crash_loop(message, task, starts)
        else:
            self._hand_over(message, message.headers["task"])
        return verdict

    def _end_of(self, message: TenantMessage) -> Kind | None:
        """Return the end to which a task has come before its start, if it has."""
        if has_expired(message, self._consumer.app.timezone):
            return "expired"
        task_id = message.headers["id"]
        if self.cancelled.holds(task_id):
            state.revoked.add(task_id)  # where Celery looks
        return "cancelled" if task_id in state.revoked else None

    def _hand_over(self, message: TenantMessage, name: str) -> None:
        """Do what Celery's own task handler does, and survive what kills that one."""
        consumer = self._consumer
        message.headers[ADMITTED_HEADER] = self._singletons.ticket(message) or True
        message.headers.pop(REDELIVERED_HEADER, None)
        try:
            consumer.strategies[name](
                message,
                None,
                promise(consumer.call_soon_ack, (partial(self._acknowledge, message),)),
                promise(consumer.call_soon_ack, (partial(self._reject, message),)),
                [*consumer.on_task_message, partial(self._took, message)],
            )
        except Exception as error:  # noqa: BLE001  # whatever a message makes Celery raise must not end the worker
            self._refuse(message, error)

    def _refuse(self, message: TenantMessage, error: Exception) -> None:
        """Put a message away of which something failed before it was handed to the pool."""
        self._take_slot_back(message)
        death = Death("malformed", f"not a task message: {error!r}")
        self._put_away(message, death, lambda: self._discard(message, error))

    def _took(self, message: TenantMessage, request: Any) -> None:
        """Take note of the request that Celery has made of a message; called before anything comes of it."""
        self.requests[message] = request
        if self._journal is not None and request.task.recorded:
            request.journal, request.tenant = self._journal, message.tenant

    def _acknowledge(self, message: TenantMessage, *log: Any) -> None:
        """Let go of a message whose task has ended, well or not; called by Celery."""
        self._let_go(message, lambda: message.ack_log_error(*log))

    def _reject(self, message: TenantMessage, log: Any, errors: Any, requeue: bool) -> None:  # noqa: FBT001
        """Give the message back for another run, or let go of it; called by Celery."""
        if requeue:
            message.reject_log_error(log, errors, requeue=True)
        else:
            self._let_go(message, lambda: message.reject_log_error(log, errors))

    def _let_go(self, message: TenantMessage, settle: Callable[[], None]) -> None:
        self._comebacks.forget_starts(message)
        request = self.requests.get(message)
        death: Death | None = getattr(request, "death", None)
        if message.is_ours and not getattr(request, "retried", False):
            self._forget_cancellation(message.headers["id"])
        if not message.is_ours:  # lost with its connection: the broker has it, and it comes back
            if request is not None and death is None and getattr(request, "completed", False):
                request.note("completed")
            settle()
        elif death is not None:
            self._put_away(message, death, settle)
        else:
            if request is not None and getattr(request, "completed", False):
                self.endings.completed(message.queue)
                request.note("completed")
            self._once_recorded(message, settle)

    def _once_recorded(self, message: TenantMessage, settle: Callable[[], None]) -> None:
        """Let a message go; first write down how its task has ended if another one may depend on it.

        If this process dies in between the task runs again, and nobody waits for an end that was and is not known.
        """
        if self._journal is None or message.owner not in self._depending:
            settle()
            return
        self.recording.add(message)
        self.leaving.discard(message)

        def let_go() -> None:
            self.recording.discard(message)  # it may be of a connection that is lost, where nobody else does
            settle()

        self._journal.then(lambda: self._consumer.hub.call_soon(let_go))

    # ---- messages that do not run

    def _delay(self, message: TenantMessage, eta: str) -> None:
        try:
            self._departures.delay(message, eta)
        except (ValueError, TaketurnsError) as error:
            self._put_away(message, Death("malformed", f"eta: {error}"), lambda: self._discard(message))

    def _let_go_unrun(self, message: TenantMessage, reached: Stored) -> None:
        """Let a message go whose task has ended, or was sent again, and that has come back nevertheless."""
        task_id = message.headers["id"]
        name = message.headers["task"]
        logger.info("task %s[%s] came back and is not run again: it is %s", name, task_id, reached)
        if reached in FINAL:  # else a later attempt has these starts
            self._comebacks.forget_starts(message)
            if self._journal is not None and message.owner in self._depending:
                self._journal.ended_before(message.owner, task_id, reached)
        message.ack_log_error(logger, self._consumer.connection_errors)

    def _end_crash_loop(self, message: TenantMessage, task: Any, starts: int) -> None:
        """Put a message away all of whose starts were the end of a worker, or of its process."""
        error = CrashLoop(f"started {starts} times, and each time its worker or process died")

        def then() -> None:
            self._comebacks.forget_starts(message)
            self._background.submit(
                lambda: report_failure(
                    task.app, message.headers, message.payload, error, queue=message.queue, task=task
                )
            )
            self._discard(message, error)

        self._put_away(message, Death("crash_loop", str(error), attempts=starts), then)

    def _forget_cancellation(self, task_id: str) -> None:
        """Forget that a task was cancelled: it has come to its end, and may be replayed."""
        if task_id in self.cancelled:
            self.cancelled.came(task_id)
            state.revoked.discard(task_id)
            self._background.submit(
                lambda: self._turns.registry.cancellations.discard([task_id]),
                failed=lambda _: None,  # the store has said that Redis is away
            )

    def _take_slot_back(self, message: TenantMessage) -> None:
        request = self.requests.pop(message, None)
        if request is not None:
            release(self._consumer, request)

    def _discard(self, message: TenantMessage, error: Exception | None = None) -> None:
        """Let a message go that is in the dead-letter queue by now, and send Celery's signal for it."""
        message.reject_log_error(logger, self._consumer.connection_errors)
        signals.task_rejected.send(sender=self._consumer, message=message, exc=error)

    def _drop(self, message: TenantMessage, task: Any) -> None:
        """Let a task go that is not to run beside another one; its state is REVOKED, as that of an expired one."""
        reason = why_dropped(task, message.owner)
        told = f"{DROPPED}: {reason}"
        logger.info("task %s[%s] is %s", task.name, message.headers["id"], told)
        self.leaving.add(message)
        self._note(message, task, "cancelled", error=DROPPED, message=reason)

        def record() -> None:
            request = request_of(message.headers, message.payload)
            task.backend.mark_as_revoked(
                message.headers["id"], told, request, store_result=not request.ignore_result
            )

        def let_go(_: object) -> None:
            self._once_recorded(message, message.ack)

        self._background.submit(record, let_go, let_go)

    def _put_away(self, message: TenantMessage, death: Death, then: Callable[[], None]) -> None:
        """Send a message to the dead letters, write that down, and let it go."""

        def buried() -> None:
            self.endings.failed(message.queue)
            self._note_death(message, death)
            self._once_recorded(message, then)

        self._departures.bury(message, death, buried)

    def _note(self, message: TenantMessage, task: Any, kind: Kind, /, **data: Any) -> None:
        if self._journal is not None and getattr(task, "recorded", False):
            self._journal.tell(message.tenant, message.headers, kind, **data)

    def _note_death(self, message: TenantMessage, death: Death) -> None:
        if self._journal is None or not is_named(message.headers):
            return
        task = self._consumer.app.tasks.get(message.headers["task"])
        if task is None or getattr(task, "recorded", False):
            error = getattr(self.requests.get(message), "error", ("", ""))
            self._journal.died(message.tenant, message.headers, death, error)
