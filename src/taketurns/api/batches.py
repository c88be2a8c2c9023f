"""Batches over HTTP: many submissions in one request, read, checked and submitted together."""

from collections.abc import AsyncIterator, Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

from anyio import CancelScope, CapacityLimiter, current_time, from_thread, move_on_after
from anyio.to_thread import run_sync

from taketurns.api.errors import ApiError
from taketurns.api.incoming import Incoming, too_long
from taketurns.api.submission import ANSWER_WITHIN, Attempt
from taketurns.batch import Batch, Submitted
from taketurns.errors import BrokerUnavailable, InvalidInput, PublishNotConfirmed
from taketurns.extension import TakeTurns

_THREADS: Final = 4
"""Batches that are submitted at a time: each has a connection, and a core, to itself."""

_CHECKED_AT_ONCE: Final = 256 * 1024
"""Bytes of lines that are read before they are checked."""


class BatchSubmitter:
    """Reads batches and submits them. Threads of their own do both, so that other requests go on."""

    def __init__(self, turns: TakeTurns) -> None:
        self._turns = turns
        self._threads = CapacityLimiter(_THREADS)

    async def read_array(self, tenant: str, body: bytes) -> Batch:
        """Read a batch that is a JSON array; raises Malformed and InvalidBatch."""
        incoming = Incoming(self._turns, tenant)
        await self._in_thread(incoming.read_array, body)
        return incoming.whole()

    async def read_lines(self, tenant: str, chunks: AsyncIterator[bytes]) -> Batch:
        """Read a batch with a submission on each line, as it comes in.

        Raises:
            ApiError: a line is too long.
            Malformed: they are too many, or none.
            InvalidBatch: some can't be submitted.
        """
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


def _too_long(limit: int) -> ApiError:
    return ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", too_long(limit), field="body")


def refuse_key(key: str | None) -> None:
    """Refuse an idempotency key for a whole batch, whose tasks have keys of their own.

    Raises:
        InvalidInput: there is one.
    """
    if key is not None:
        accepted = "a field idempotency_key of each task of a batch, and no header"
        raise InvalidInput(key, accepted, field="Idempotency-Key")
