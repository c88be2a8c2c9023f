"""What those who submit and run tasks tell the records; none of them fails because Redis is away."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from taketurns.deadletters.letter import REPLAYS_HEADER, number_of
from taketurns.errors import InvalidInput, RegistryUnavailable
from taketurns.finite import is_finite
from taketurns.records.lifecycle import Step, attempt_of, shortened
from taketurns.records.record import written_error
from taketurns.tenants import queue_name
from taketurns.texts import is_encodable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from taketurns.deadletters.letter import DeadLetter
    from taketurns.ready import Ready
    from taketurns.records.lifecycle import Kind
    from taketurns.records.records import Records
    from taketurns.task import TenantTask
    from taketurns.tenant_key import Whose

TAGS_HEADER: Final = "taketurns_tags"
"""The header that carries a task's tags, so that a record begun anew has them."""

SUBMISSION_HEADER: Final = "taketurns_submission"
"""The header that tells one submission of a task from others of the same id; all its attempts have it."""

_WRITTEN_AT_ONCE: Final = 250
"""Submissions of one call to Redis, which answers nobody else meanwhile."""

_APART: Final = 1e-6
"""Seconds between tasks that are submitted together, so that lists have them in their order."""

_MOST_TAGS: Final = 20
_LONGEST_TAG: Final = 100
_PROGRESS_EVERY: Final = 0.1
"""Seconds between two tellings of a task's progress; its end is always told."""


def new_submission() -> str:
    """Return a value for that header."""
    return token_hex(6)


def attempt_in(headers: Mapping[str, Any]) -> str | None:
    """Return which attempt a message is of; None: it does not say, as those of other programs."""
    submission = headers.get(SUBMISSION_HEADER)
    if not isinstance(submission, str) or not submission.isalnum():
        return None
    replays = number_of(headers.get(REPLAYS_HEADER))
    return attempt_of(submission, retries=number_of(headers.get("retries")), replays=replays)


class Recorder:
    """Writes the records of what this process submits, and of the progress of what it runs. Thread-safe.

    Args:
        records: where they are kept.
        enabled: whether any are.
    """

    def __init__(self, records: Records, *, enabled: bool) -> None:
        self._records = records
        self._enabled = enabled
        self._progress: dict[str, float] = {}

    def records(self, task: TenantTask) -> bool:
        """Tell whether tasks of a type are recorded."""
        return self._enabled and task.recorded

    def keeps(self, task: Any) -> bool:
        """Tell whether a task is recorded of which this app may not know the type."""
        return self._enabled and bool(getattr(task, "recorded", True))

    def submitted(
        self,
        task: TenantTask,
        owner: str,
        options: Mapping[str, Any],
        due: datetime | None,
        queue: str | None,
        parents: Sequence[str] = (),
    ) -> None:
        """Record a submission, before it is published: else its start could be told first.

        Args:
            task: the task.
            owner: whose task it is.
            options: those with which it is about to be published.
            due: when it is to start at the earliest.
            queue: the queue that it goes to, if that has not the owner's name.
            parents: the tasks that it waits for.
        """
        if not self.records(task):
            return
        tags = options["headers"].get(TAGS_HEADER)
        step = _submission(
            options["task_id"], time.time(), task.name, options.get("priority"), due, tags, queue, parents
        )
        self._write(owner, step)

    def submitted_together(self, owner: str, several: Iterable[Ready], queue: str | None) -> None:
        """Record submissions for one queue, before they are published; None: it has the owner's name."""
        now = round(time.time(), 6)  # moments are kept so exact, and no two of these are to be the same
        steps = [
            _submission(
                each.task_id,
                now + number * _APART,
                each.task.name,
                each.priority,
                None if each.blocked else each.due,
                each.tags,
                queue,
                each.blocked.parents if each.blocked else (),
            )
            for number, each in enumerate(several)
            if self.records(each.task)
        ]
        self._write(owner, *steps)

    def released(self, task: Any, whose: Whose, headers: Mapping[str, Any], due: float | None) -> None:
        """Record that a task waits for no other any more, before it is published.

        Args:
            task: the task as this app knows it, or None.
            whose: whose task it is, and the tenant whose queue it goes to.
            headers: those of its message.
            due: when it is to start at the earliest, in seconds since 1970.
        """
        later = {} if due is None else {"due": due}
        kind: Kind = "queued" if due is None else "delayed"
        # It may have been submitted for another tenant's queue: owners can be mapped anew.
        self._tell(task, whose.owner, headers, kind, later, {**later, "queue": queue_name(whose.tenant)})

    def failed(self, task: Any, owner: str, headers: Mapping[str, Any], error: str, message: str) -> None:
        """Record that a task has failed without being run, because of an error of this type and text."""
        data = {"error": error, "message": shortened(message)}
        self._tell(task, owner, headers, "failed", data, {"error": written_error(error, data["message"])})

    def replayed(self, task: Any, whose: Whose, letter: DeadLetter) -> None:
        """Record that a dead letter is a task again, before it is published.

        Args:
            task: the task as this app knows it, or None.
            whose: whose task it is, and the tenant whose queue it goes to.
            letter: the dead letter.
        """
        if letter.task_id is None or not self.keeps(task):
            return
        step = Step(
            letter.task_id,
            "queued",
            time.time(),
            name=letter.task or "",
            replays=letter.replays + 1,
            fields={"queue": queue_name(whose.tenant)},
        )
        self._write(whose.owner, step)

    def not_submitted(self, task: TenantTask, owner: str, *task_ids: str) -> None:
        """Forget submissions that came to nothing."""
        if task_ids and self.records(task):
            with suppress(RegistryUnavailable):
                self._records.forget(owner, task_ids)

    def progress(
        self, task: TenantTask, owner: str, done: float, total: float | None, note: str | None
    ) -> None:
        """Record how far the task is that this thread runs; not more often than ten times a second.

        Raises:
            InvalidInput: a value does not have its accepted form.
        """
        _check("done", done)
        if total is not None:
            _check("total", total)
        if note is None:
            note = ""
        elif not isinstance(note, str):
            raise InvalidInput(note, "a text, or None", field="note")
        request = task.request
        now = time.monotonic()
        is_last = total is not None and done >= total
        if not self.records(task) or (self._progress.get(request.id, 0.0) > now and not is_last):
            return
        self._progress = {
            request.id: now + _PROGRESS_EVERY,
            **{
                task_id: until
                for task_id, until in self._progress.items()
                if until > now and task_id != request.id
            },
        }
        data = {"done": done, "total": total, "note": shortened(note)}
        step = Step(
            request.id, "progress", time.time(), data={k: v for k, v in data.items() if v not in (None, "")}
        )
        self._write(owner, step)

    def _tell(
        self,
        task: Any,
        owner: str,
        headers: Mapping[str, Any],
        kind: Kind,
        data: Mapping[str, Any],
        fields: Mapping[str, str | float],
    ) -> None:
        """Record a step of a task that this process only has the message of."""
        if not self.keeps(task):
            return
        replays = number_of(headers.get(REPLAYS_HEADER))
        name = str(headers.get("task", ""))
        step = Step(headers["id"], kind, time.time(), name=name, replays=replays, data=data, fields=fields)
        self._write(owner, step)

    def _write(self, owner: str, *steps: Step) -> None:
        with suppress(RegistryUnavailable):  # the store has said that Redis is away
            for start in range(0, len(steps), _WRITTEN_AT_ONCE):
                self._records.write({owner: steps[start : start + _WRITTEN_AT_ONCE]})


def _submission(
    task_id: str,
    at: float,
    name: str,
    priority: int | None,
    due: datetime | None,
    tags: Any,
    queue: str | None,
    parents: Sequence[str] = (),
) -> Step:
    fields: dict[str, str | float] = {"priority": priority or 0}
    if due is not None:
        fields["due"] = due.timestamp()
    if queue is not None:
        fields["queue"] = queue
    if tags:
        fields["tags"] = json.dumps(tags, ensure_ascii=False)
    data: dict[str, Any] = {} if due is None else {"due": due.timestamp()}
    kind: Kind = "queued" if due is None else "delayed"
    if parents:
        kind, data = "blocked", {"depends_on": list(parents)}
        fields["depends_on"] = json.dumps(parents, ensure_ascii=False)
    return Step(task_id, kind, at, name=name, data=data, fields=fields)


def checked_task_tags(tags: Any) -> list[str]:
    """Return the tags of a submission.

    Raises:
        InvalidInput: they do not have the accepted form.
    """
    if tags is None:
        return []
    accepted = f"at most {_MOST_TAGS} different texts of 1 to {_LONGEST_TAG} characters"
    if not isinstance(tags, list | tuple | set | frozenset) or len(tags) > _MOST_TAGS:
        raise InvalidInput(tags, accepted, field="tags")
    for tag in tags:
        if not isinstance(tag, str) or not 1 <= len(tag) <= _LONGEST_TAG or not is_encodable(tag):
            raise InvalidInput(tag, accepted, field="tags")
    return list(dict.fromkeys(tags))


def _check(name: str, value: object) -> None:
    if not is_finite(value) or value < 0:
        raise InvalidInput(value, "a number from 0 on", field=name)
