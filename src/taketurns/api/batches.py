"""Batches over HTTP: many submissions in one request, read, checked and submitted together."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

from anyio import CancelScope, CapacityLimiter, current_time, from_thread, move_on_after
from anyio.to_thread import run_sync
from pydantic import ValidationError

from taketurns.api.errors import ApiError, invalid_field, unreadable
from taketurns.api.exposed import exposed_task
from taketurns.api.options import options_of
from taketurns.api.schemas import TaskSubmission
from taketurns.api.submission import ANSWER_WITHIN, Attempt
from taketurns.arguments import check_arguments
from taketurns.batch import Batch, Submitted
from taketurns.errors import (
    BrokerUnavailable,
    InvalidBatch,
    InvalidInput,
    PublishNotConfirmed,
    TaketurnsError,
)
from taketurns.extension import TakeTurns

MOST: Final = 10_000
"""Tasks of one batch, at most."""

_THREADS: Final = 4
"""Batches that are submitted at a time: each has a connection, and a core, to itself."""

_CHECKED_AT_ONCE: Final = 256 * 1024
"""Bytes of lines that are read before they are checked."""

_MOST_FIELDS: Final = 50
"""Fields of one submission that are looked at; each unknown one would be an error of its own."""


class Incoming:
    """A batch that is being read. For one thread at a time.

    Args:
        turns: the app's TakeTurns.
        tenant: whose tasks they are.
    """

    def __init__(self, turns: TakeTurns, tenant: str) -> None:
        self._turns = turns
        self._largest = turns.settings.api.max_body
        self._batch = Batch(turns, tenant, largest=self._largest)
        self._errors: dict[int, Exception] = {}
        self._read = 0

    def read_array(self, body: bytes) -> None:
        """Read a JSON array.

        Raises:
            ApiError: it is none.
        """
        try:
            items = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _refused(unreadable(error)) from error
        if not isinstance(items, list):
            raise _refused("a JSON array of submissions is needed, or one a line as application/x-ndjson")
        if len(items) > MOST:
            raise _refused(f"it has {len(items)} tasks; accepted are {MOST} at most")
        for item in items:
            self._add(item)

    def read_lines(self, lines: Iterable[bytes]) -> None:
        """Read lines of NDJSON; empty ones don't count.

        Raises:
            ApiError: they are too many.
        """
        for line in lines:
            if not line.strip():
                continue
            if self._read >= MOST:
                raise _refused(f"it has more tasks than the {MOST} that are accepted at most")
            try:
                if len(line) > self._largest:
                    raise _too_long(self._largest)
                item = json.loads(line)
            except (ValueError, RecursionError) as error:
                self._refuse(_refused(unreadable(error)))
            except ApiError as error:
                self._refuse(error)
            else:
                self._add(item)

    def whole(self) -> Batch:
        """Return the batch, which is complete now.

        Raises:
            ApiError: it is empty.
            InvalidBatch: some of its tasks can't be submitted.
        """
        if self._errors:
            raise InvalidBatch(self._errors)
        if not self._read:
            raise _refused(f"it has no tasks; accepted are 1 to {MOST}")
        return self._batch

    def _add(self, item: Any) -> None:
        try:
            if isinstance(item, dict) and len(item) > _MOST_FIELDS:
                raise _refused(f"a submission has less than {_MOST_FIELDS} fields")
            submission = TaskSubmission.model_validate(item)
            task = exposed_task(self._turns.app, submission.name)
            check_arguments(task.run, submission.args, submission.kwargs)
            self._batch.add(
                task, submission.args, submission.kwargs, **options_of(submission, self._turns.app)
            )
        except ValidationError as error:
            self._refuse(invalid_field(dict(error.errors(include_url=False)[0])))
        except (TaketurnsError, ApiError) as error:
            self._refuse(error)
        else:
            self._read += 1

    def _refuse(self, error: Exception) -> None:
        self._errors[self._read] = error
        self._read += 1


class BatchSubmitter:
    """Reads batches and submits them. Threads of their own do both, so that other requests go on."""

    def __init__(self, turns: TakeTurns) -> None:
        self._turns = turns
        self._threads = CapacityLimiter(_THREADS)

    async def read_array(self, tenant: str, body: bytes) -> Batch:
        """Read a batch that is a JSON array; raises ApiError and InvalidBatch."""
        incoming = Incoming(self._turns, tenant)
        await self._in_thread(incoming.read_array, body)
        return incoming.whole()

    async def read_lines(self, tenant: str, chunks: AsyncIterator[bytes]) -> Batch:
        """Read a batch with a submission on each line, as it comes in; raises ApiError and InvalidBatch."""
        incoming = Incoming(self._turns, tenant)
        most = self._turns.settings.api.max_body + _CHECKED_AT_ONCE
        pending = bytearray()
        async for chunk in chunks:
            pending += chunk
            if len(pending) < _CHECKED_AT_ONCE:
                continue
            end = pending.rfind(b"\n") + 1
            if not end and len(pending) > most:
                raise _too_long(self._turns.settings.api.max_body)
            await self._in_thread(incoming.read_lines, bytes(pending[:end]).split(b"\n"))
            del pending[:end]
        await self._in_thread(incoming.read_lines, bytes(pending).split(b"\n"))
        return incoming.whole()

    async def submit(self, batch: Batch) -> Sequence[Submitted]:
        """Submit a batch, and return when the broker has answered for each task.

        Until the first task is published it takes ``ANSWER_WITHIN`` seconds at most, and then as many as the batch
        may have.

        Raises:
            InvalidBatch: an idempotency key belongs to another request.
            KeyInUse: another submission with an idempotency key is under way.
            RegistryUnavailable: there is an idempotency key, and Redis is away.
            BacklogFull: not all of them may wait.
            BrokerUnavailable: the broker is away; nothing was submitted, and won't be.
            PublishNotConfirmed: none was confirmed; some may run all the same.
        """
        attempt = Attempt()
        with move_on_after(ANSWER_WITHIN) as scope:
            told: list[Submitted] = await run_sync(
                self._submit, batch, attempt, scope, abandon_on_cancel=True, limiter=self._threads
            )
            errors = [each.error for each in told if each.error is not None]
            if len(errors) == len(told):
                raise next((each for each in errors if isinstance(each, PublishNotConfirmed)), errors[0])
            return told
        if attempt.give_up():
            raise BrokerUnavailable(
                f"RabbitMQ, or the batches before, took more than {ANSWER_WITHIN:g} s; nothing was submitted"
            )
        raise PublishNotConfirmed("RabbitMQ did not confirm in time")

    def _submit(self, batch: Batch, attempt: Attempt, scope: CancelScope) -> list[Submitted]:
        def extend() -> None:
            scope.deadline = current_time() + batch.seconds + ANSWER_WITHIN

        def may_publish() -> bool:
            if not attempt.may_publish():
                return False
            from_thread.run_sync(extend)
            return True

        return batch.submit(may_publish)

    async def _in_thread(self, function: Callable[..., None], *args: Any) -> None:
        await run_sync(function, *args, limiter=self._threads)


def _refused(why: str) -> ApiError:
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_input", f"body: {why}", field="body")


def _too_long(limit: int) -> ApiError:
    text = f"a line is too large; accepted are {limit} bytes at most"
    return ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", text, field="body")


def refuse_key(key: str | None) -> None:
    """Refuse an idempotency key for a whole batch, whose tasks have keys of their own.

    Raises:
        InvalidInput: there is one.
    """
    if key is not None:
        accepted = "a field idempotency_key of each task of a batch, and no header"
        raise InvalidInput(key, accepted, field="Idempotency-Key")
