"""Submissions as JSON, read and checked one by one. Without FastAPI: the command line reads files so."""

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

from celery import Celery
from pydantic import ValidationError

from taketurns.api.exposed import exposed_task
from taketurns.api.faults import Malformed, invalid_fields, unreadable
from taketurns.api.options import options_of
from taketurns.api.schemas.tasks import TaskSubmission
from taketurns.arguments import check_arguments
from taketurns.batch import Batch
from taketurns.errors import InvalidBatch, InvalidInput, TaketurnsError
from taketurns.extension import TakeTurns
from taketurns.task import TenantTask

MOST: Final = 10_000
"""Tasks of one batch, at most."""

_MOST_FIELDS: Final = 50
"""Fields of one submission that are looked at; each unknown one would be an error of its own."""


class Incoming:
    """A batch that is being read. For one thread at a time.

    Args:
        turns: the app's TakeTurns.
        tenant: whose tasks they are.
        find: returns the task of a name, and raises an error of ours if it may not be submitted.
    """

    def __init__(
        self, turns: TakeTurns, tenant: str, *, find: Callable[[Celery, str], TenantTask] = exposed_task
    ) -> None:
        self._app = turns.app
        self._find = find
        self._largest = turns.settings.api.max_body
        self._batch = Batch(turns, tenant)
        self._errors: dict[int, Exception] = {}
        self._read = 0

    def read_array(self, body: bytes) -> None:
        """Read a JSON array.

        Raises:
            Malformed: it is none, or too long.
        """
        try:
            items = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Malformed(unreadable(error)) from error
        if not isinstance(items, list):
            raise Malformed("a JSON array of submissions is needed, or one a line as application/x-ndjson")
        if len(items) > MOST:
            raise Malformed(f"it has {len(items)} tasks; accepted are {MOST} at most")
        for item in items:
            self._add(item, may_be_too_large=len(body) > self._largest)

    def read_lines(self, lines: Iterable[bytes]) -> None:
        """Read lines of NDJSON; empty ones don't count.

        Raises:
            Malformed: they are too many.
        """
        for line in lines:
            if not line.strip():
                continue
            if self._read >= MOST:
                raise Malformed(f"it has more tasks than the {MOST} that are accepted at most")
            if len(line) > self._largest:
                self._refuse(Malformed(too_long(self._largest), code="body_too_large"))
                continue
            try:
                item = json.loads(line)
            except (ValueError, RecursionError) as error:
                self._refuse(Malformed(unreadable(error)))
            else:
                self._add(item)

    def whole(self) -> Batch:
        """Return the batch, which is complete now.

        Raises:
            Malformed: it is empty.
            InvalidBatch: some of its tasks can't be submitted.
        """
        if self._errors:
            raise InvalidBatch(self._errors)
        if not self._read:
            raise Malformed(f"it has no tasks; accepted are 1 to {MOST}")
        return self._batch

    def _add(self, item: Any, *, may_be_too_large: bool = False) -> None:
        try:
            submission = read_submission(item)
            task = self._find(self._app, submission.name)
            check_arguments(task.run, submission.args, submission.kwargs)
            if may_be_too_large:
                self._check_size(submission)
            options = options_of(submission, self._app)
            self._batch.add_fitting(task, submission.args, submission.kwargs, **options)
        except TaketurnsError as error:
            self._refuse(error)
        else:
            self._read += 1

    def _check_size(self, submission: TaskSubmission) -> None:
        if len(json.dumps((submission.args, submission.kwargs))) > self._largest:
            raise InvalidInput("...", f"{self._largest} bytes of arguments at most", field="args")

    def _refuse(self, error: Exception) -> None:
        self._errors[self._read] = error
        self._read += 1


def read_submission(item: object) -> TaskSubmission:
    """Return a submission that came as JSON; its task and arguments are not checked.

    Raises:
        Malformed: it is none; the field is that of the first error.
    """
    if isinstance(item, dict) and len(item) > _MOST_FIELDS:
        raise Malformed(f"a submission has less than {_MOST_FIELDS} fields")
    try:
        return TaskSubmission.model_validate(item)
    except ValidationError as error:
        raise invalid_fields(error) from None


def too_long(limit: int) -> str:
    """Say that a line has more bytes than it may have."""
    return f"a line is too large; accepted are {limit} bytes at most"
