"""Submitting what schedules have due. At most one process submits a run, whatever other processes do meanwhile."""

from __future__ import annotations

import logging
import math
import time
import uuid
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from taketurns.by_name import tenant_task
from taketurns.errors import (
    BacklogFull,
    BrokerRefused,
    BrokerUnavailable,
    InvalidInput,
    PublishNotConfirmed,
    TaketurnsError,
    UnknownSchedule,
)
from taketurns.schedules.missed import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from taketurns.extension import TakeTurns
    from taketurns.schedules.schedule import Outcome, Schedule

logger = logging.getLogger(__name__)

SCHEDULE_HEADER: Final = "taketurns_schedule"
DUE_HEADER: Final = "taketurns_due"
"""The headers of a scheduled task: its schedule's name, and for when it was due, in ISO 8601."""

_BATCH: Final = 100
_AWAY_FOR: Final = 2.0
"""Seconds until another try when RabbitMQ was away."""
_LONGEST_PAUSE: Final = 60.0
"""Seconds until another try, at most."""


class _Changed(TaketurnsError):
    """Somebody else has changed the schedule: another beat has submitted the run, or it is another schedule now."""


class _Submission(NamedTuple):
    outcome: Outcome
    error: str | None = None
    retry_after: float | None = None
    """Seconds after which nothing prevents another try; None: there is none."""
    goes_on: bool = True
    """Whether it is worth a try with other schedules."""


class Firing:
    """Submits the tasks of schedules that are due.

    A run is claimed, in one transaction that succeeds only if nobody has touched the schedule since it was read; then
    it is submitted, under an id that follows from schedule and due time; then what became of it is noted. So:

    - Two processes that do this at the same time, or one that was stopped for long and goes on, submit no run twice.
    - Who is killed between the claim and RabbitMQ's confirm leaves a run whose outcome is ``unknown``. It is not
      submitted again, and may have been lost.
    - What RabbitMQ or a full backlog has refused is given back, and decided upon anew.
    """

    def __init__(self, turns: TakeTurns) -> None:
        self._turns = turns
        self._settings = turns.settings.schedules
        self._book = turns.schedules.book
        self._is_away = False

    def look(self, must_stop: Callable[[], bool] = lambda: False) -> float:
        """Submit what is due, some of it at a time; return the seconds until the next look, 0 if there is more.

        Args:
            must_stop: asked before each run; True leaves the rest.

        Raises:
            RegistryUnavailable: Redis is away.
        """
        began = time.monotonic()
        due = self._book.due(_BATCH)
        for schedule in due.schedules:
            try:
                if not self._fire(schedule, due.now, must_stop):
                    return _AWAY_FOR
            except (_Changed, UnknownSchedule):
                continue  # it is read anew if it is still due
        if due.following is None:
            return math.inf
        return max(0.0, due.following - due.now - (time.monotonic() - began))

    def _fire(self, schedule: Schedule, now: float, must_stop: Callable[[], bool]) -> bool:
        """Submit what a schedule has due; tells whether it is worth a try with the next one."""
        zone = self._turns.app.timezone
        grace, most = self._settings.grace, self._settings.max_missed
        try:
            ahead = plan(
                schedule.timing(zone),
                schedule.next_due_at or now,
                now,
                schedule.missed,
                grace=grace,
                most=most,
            )
        except InvalidInput as error:
            reason = str(error)
            logger.warning("schedule %s can't be timed here: %s", _named(schedule), reason)
            self._if_unchanged(schedule, lambda stored: stored.put_off(reason, now + _LONGEST_PAUSE))
            return True
        if (missed := ahead.missed) is not None:
            logger.warning("schedule %s: what was due until %s is left out", _named(schedule), _iso(missed))
            if not ahead.runs:
                self._if_unchanged(schedule, lambda stored: stored.passed_over(ahead.following, missed))
        for due, following in pairwise([*ahead.runs, ahead.following]):
            if must_stop():
                return False
            claim = self._claim(schedule, due, following, missed)
            submission = self._submit(claim, due)
            schedule = self._settle(claim, submission)
            if submission.outcome != "submitted":
                return submission.goes_on
        return True

    def _claim(self, schedule: Schedule, due: float, following: float, missed: float | None) -> Schedule:
        name = (
            f"{self._turns.settings.redis.redis_prefix}/{_named(schedule)}/{schedule.created_at!r}/{due:.0f}"
        )
        task_id = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
        return self._if_unchanged(schedule, lambda stored: stored.claimed(due, following, task_id, missed))

    def _submit(self, claim: Schedule, due: float) -> _Submission:
        # What is noted is for the tenant too; hosts, other tasks and whatever else errors tell is for the log.
        try:
            task = tenant_task(self._turns.app, claim.task)
            task.apply_async(
                claim.args,
                claim.kwargs,
                task_id=claim.last_task_id,
                tenant=claim.tenant,
                headers={"celery_beat_task": True, SCHEDULE_HEADER: claim.name, DUE_HEADER: _iso(due)},
                **claim.options,
            )
        except PublishNotConfirmed as error:
            logger.warning(
                "schedule %s: the task %s may run, or not: %s", _named(claim), claim.last_task_id, error
            )
            return _Submission("unknown", "RabbitMQ did not confirm the task in time", goes_on=False)
        except BrokerRefused as error:
            logger.warning("schedule %s waits: %s", _named(claim), error)
            return _Submission("refused", "RabbitMQ does not allow it to beat", _AWAY_FOR)
        except BrokerUnavailable as error:
            if not self._is_away:
                logger.warning("schedule %s waits: %s", _named(claim), error)
            self._is_away = True
            return _Submission("refused", "RabbitMQ could not be reached", _AWAY_FOR, goes_on=False)
        except BacklogFull as error:
            logger.warning("schedule %s waits: %s", _named(claim), error)
            return _Submission("refused", str(error), min(max(error.retry_after, 1.0), _LONGEST_PAUSE))
        except Exception as error:  # whatever the app's own hooks raise: other schedules go on
            logger.exception("schedule %s can't be submitted", _named(claim))
            known = claim.task in self._turns.app.tasks
            why = f"it raised {type(error).__name__}" if known else f"beat knows no task {claim.task!r}"
            return _Submission("failed", why)
        self._is_away = False
        logger.info("schedule %s: submitted the task %s (%s)", _named(claim), claim.task, claim.last_task_id)
        return _Submission("submitted")

    def _settle(self, claim: Schedule, submission: _Submission) -> Schedule:
        outcome, error, retry_after, _ = submission

        def settle(stored: Schedule, now: float) -> Schedule:
            if stored.last_task_id != claim.last_task_id:
                raise _Changed
            if retry_after is None:
                return stored.settled(outcome, error)
            return stored.given_back(claim, str(error), now + retry_after)

        return self._book.edit(claim.tenant, claim.name, settle)

    def _if_unchanged(self, read: Schedule, change: Callable[[Schedule], Schedule]) -> Schedule:
        def attempt(stored: Schedule, _: float) -> Schedule:
            if stored != read:
                raise _Changed
            return change(stored)

        return self._book.edit(read.tenant, read.name, attempt)


def _named(schedule: Schedule) -> str:
    return f"{schedule.tenant}/{schedule.name}"


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()
