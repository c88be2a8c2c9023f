"""Submitting a task with an answer in time, whatever the broker does."""

import threading
from typing import Final

from anyio import CapacityLimiter, move_on_after
from anyio.to_thread import run_sync
from celery.utils import uuid

from taketurns.api.exposed import exposed_task
from taketurns.api.options import options_of
from taketurns.api.results import first_state, remembered_state
from taketurns.api.schemas.tasks import TaskAccepted, TaskSubmission
from taketurns.arguments import check_arguments
from taketurns.errors import BrokerUnavailable, PublishNotConfirmed
from taketurns.extension import TakeTurns
from taketurns.migration.old_way import destination_of

ANSWER_WITHIN: Final = 4.3
"""Seconds until a submission is given up; above the default publish timeout, which has the better reason."""

_THREADS: Final = 40
"""Of our own, so that submissions which wait for a silent broker don't keep other requests waiting."""


class Attempt:
    """Who came first: the thread that is about to publish, or the request that gives up waiting for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._publishing = False
        self._given_up = False

    def may_publish(self) -> bool:
        """Tell whether somebody still waits; if so, it can no longer be given up without a trace."""
        with self._lock:
            self._publishing = not self._given_up
            return self._publishing

    def give_up(self) -> bool:
        """Give up, and tell whether nothing was published and nothing will be."""
        with self._lock:
            self._given_up = True
            return not self._publishing


class Submitter:
    """Submits tasks for tenants, each within ``ANSWER_WITHIN`` seconds or not at all.

    A single step to the broker has its timeout, but many submissions at a time wait for each other's too.
    """

    def __init__(self, turns: TakeTurns) -> None:
        self._turns = turns
        self._threads = CapacityLimiter(_THREADS)

    async def submit(self, owner: str, submission: TaskSubmission) -> TaskAccepted:
        """Submit a task, and return when the broker has confirmed it.

        Raises:
            UnknownTask: no such task is exposed.
            InvalidInput: the arguments don't fit the task, its idempotency key belongs to another request, or the
                tenant key returned no tenant id.
            TenantKeyFailed: the app's ``tenant_key`` raised an error.
            KeyInUse: another submission with its idempotency key is under way.
            RegistryUnavailable: it has an idempotency key or depends on others, and Redis is away; nothing was
                submitted.
            BacklogFull: as many of the tenant's tasks wait as may.
            BrokerUnavailable: the broker is away; nothing was submitted, and won't be.
            PublishNotConfirmed: the broker did not confirm the task; it may run all the same.
        """
        attempt = Attempt()
        with move_on_after(ANSWER_WITHIN):
            return await run_sync(
                self._submit, owner, submission, attempt, abandon_on_cancel=True, limiter=self._threads
            )
        if attempt.give_up():
            raise BrokerUnavailable(f"RabbitMQ took more than {ANSWER_WITHIN:g} s; nothing was submitted")
        raise PublishNotConfirmed(f"RabbitMQ did not confirm within {ANSWER_WITHIN:g} s")

    def _submit(self, owner: str, submission: TaskSubmission, attempt: Attempt) -> TaskAccepted:
        task = exposed_task(self._turns.app, submission.name)
        check_arguments(task.run, submission.args, submission.kwargs)
        tenant = self._turns.tenant_of(owner)
        if self._turns.canary.has(tenant):
            queue = self._turns.publisher.ensure(tenant)
        else:
            queue = destination_of(task.app, task.name, submission.args, submission.kwargs).name
        accepted = TaskAccepted(task_id=uuid(), tenant=owner, queue=queue)
        options = options_of(submission, self._turns.app)
        if attempt.may_publish():
            result = task.apply_async(
                submission.args, submission.kwargs, task_id=accepted.task_id, tenant=owner, **options
            )
            if getattr(result, "duplicate", False):
                state = remembered_state(self._turns, owner, result.id)
                return accepted.model_copy(update={"task_id": result.id, "status": state, "duplicate": True})
            accepted.status = first_state(
                blocked=getattr(result, "blocked", False), due=getattr(result, "due", None)
            )
        return accepted
