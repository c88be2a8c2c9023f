"""Letting go of tasks that waited for another one that has ended. Any process may do it, also several at a time."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from amqp.exceptions import NotFound, PreconditionFailed, ResourceLocked

from taketurns.deadletters.burial import buried_now
from taketurns.deadletters.letter import Death
from taketurns.delays import ETA_HEADER, moment
from taketurns.dependencies.judging import judge
from taketurns.dependencies.waiting import (
    COUNTDOWN_HEADER,
    DEPENDS_HEADER,
    after_name,
    after_queue,
    parents_in,
    without_waiting,
)
from taketurns.errors import DependencyFailed, RegistryUnavailable
from taketurns.fetching import body_of, own_connection
from taketurns.outcomes import report_failure
from taketurns.records.lifecycle import FINAL
from taketurns.registry.history import Ended
from taketurns.sending_on import headers_for_copy
from taketurns.tenants import TENANT_HEADER, owner_of_headers, queue_name
from taketurns.topology import DEAD_QUEUE, EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from amqp import Message

    from taketurns.connections import PublishConnection
    from taketurns.dependencies.awaited import Awaited
    from taketurns.extension import TakeTurns
    from taketurns.tenant_key import Whose

logger = logging.getLogger(__name__)

_LOCK: Final = "usersequence.releasing."
_LOCKED_FOR: Final = 2.0
"""Seconds to wait for somebody else who lets go of the same tasks just now."""

_AGAIN_AFTER: Final = 0.02


class Release:
    """One round of letting go, on a connection of its own. For one thread.

    A message is acknowledged only after the broker has confirmed its copy elsewhere: if this process dies between the
    two, the task is there twice, never not at all. What can't be decided stays where it is.

    Args:
        turns: the installed extension.
        awaited: knows how the parents stand.
        connection: the connection, which ends with it.
        most: messages of each queue at most; None: all of them.
    """

    def __init__(
        self, turns: TakeTurns, awaited: Awaited, connection: PublishConnection, most: int | None
    ) -> None:
        self._turns = turns
        self._awaited = awaited
        self._connection = connection
        self._most = most
        self._seconds = turns.settings.broker.publish_timeout
        self._channel: Any = connection.default_channel
        self._channel.auto_decode = False  # a body is to be sent on as the bytes that it is
        self._todo: deque[tuple[str, str]] = deque()

    def run(self, parents: Iterable[tuple[str, str]]) -> int:
        """Let go of those that wait for these tasks, and then for those which fail with them; return how many."""
        self._todo.extend(parents)
        done = 0
        while self._todo:
            owner, parent = self._todo.popleft()
            with self._alone(owner, parent) as alone:
                if alone:
                    done += self._empty(owner, parent)
        return done

    @contextmanager
    def _alone(self, owner: str, parent: str) -> Iterator[bool]:
        """Keep others away from a parent's queue; False: somebody else is at it, and will see what is there by now.

        A queue is deleted if it has no messages but those that somebody holds, who might die: so one alone takes from
        it, and deletes it. The lock is a queue that one connection can have, and ends with it.
        """
        lock = f"{_LOCK}{owner}/{parent}"
        deadline = time.monotonic() + _LOCKED_FOR
        while True:
            self._connection.extend(self._seconds)
            try:
                self._channel.queue_declare(lock, exclusive=True)
                break
            except ResourceLocked:  # py-amqp has opened the channel again
                if time.monotonic() > deadline:
                    yield False
                    return
                time.sleep(_AGAIN_AFTER)
        try:
            yield True
        finally:
            self._connection.extend(self._seconds)
            self._channel.queue_delete(lock)

    def _empty(self, owner: str, parent: str) -> int:
        """Settle what waits for a parent, and remove the queue if nothing is left in it."""
        queue = after_name(owner, parent)
        done = 0
        left: list[int] = []
        while waiting := self._count(queue):
            for _ in range(waiting if self._most is None else min(waiting, self._most - done)):
                self._connection.extend(self._seconds)
                message = self._channel.basic_get(queue)
                if message is None:
                    break
                if self._settle(message, owner, parent):
                    self._channel.basic_ack(message.delivery_tag)
                    done += 1
                else:
                    left.append(message.delivery_tag)
            if done == self._most:
                break
        for tag in left:
            self._channel.basic_reject(tag, requeue=True)
        if not left and done != self._most and self._delete(queue):
            self._awaited.released(owner, parent)
        return done

    def _count(self, queue: str) -> int:
        self._connection.extend(self._seconds)
        try:
            return int(self._channel.queue_declare(queue, passive=True).message_count)
        except NotFound:  # py-amqp has opened the channel again
            return 0

    def _delete(self, queue: str) -> bool:
        """Delete the queue; False: something has come into it at this moment, whose publisher looks after it."""
        try:
            self._channel.queue_delete(queue, if_unused=True, if_empty=True)
        except PreconditionFailed:
            return False
        return True

    def _settle(self, message: Message, owner: str, parent: str) -> bool:
        """Send a message where it belongs now; False: it stays."""
        headers = headers_for_copy(message)
        parents = parents_in(headers)
        task_id = headers.get("id")
        if not parents or not isinstance(task_id, str) or owner_of_headers(headers) != owner:
            return False  # somebody else put it there
        standings = self._awaited.standings(owner, [*parents, task_id])
        is_cancelled = standings.pop(task_id) == "CANCELLED"
        verdict = judge(standings, at=parent)
        if is_cancelled or not (verdict.because or verdict.waits_for):
            # A worker throws away what is cancelled, and tells everybody.
            self._send_on(message, self._whose(owner, headers), headers, silently=is_cancelled)
        elif verdict.because:
            self._fail(message, self._whose(owner, headers), headers, verdict.because)
        elif verdict.waits_for == parent or verdict.waits_for is None:
            return False
        else:
            self._move(message, owner, headers, verdict.waits_for, verdict.left)
        return True

    def _whose(self, owner: str, headers: dict[Any, Any]) -> Whose:
        """Return the owner with its tenant by now, to which it may have been mapped since the submission."""
        return self._turns.tenancy.key.whose_now(owner, str(headers.get(TENANT_HEADER) or owner))

    def _send_on(self, message: Message, whose: Whose, headers: dict[Any, Any], *, silently: bool) -> None:
        """Publish a task into its tenant's queue; its countdown begins now."""
        publisher = self._turns.publisher
        queue = publisher.ensure(whose.tenant)
        now = time.time()
        due = _due(headers, now)
        onward = whose.in_headers(without_waiting(headers))
        exchange = EXCHANGE
        if due is not None:
            exchange, bits = publisher.delayed(due - now)
            onward |= {**bits, ETA_HEADER: datetime.fromtimestamp(due, UTC).isoformat()}
            publisher.touch(whose.tenant, until=due)
        if not silently:
            self._turns.recorder.released(self._task(headers), whose, headers, due)
        properties = {
            **message.properties,
            "application_headers": onward,
            "timestamp": int(now if due is None else due),
        }
        publisher.publish(body_of(message), routing_key=queue, exchange=exchange, properties=properties)

    def _move(
        self, message: Message, owner: str, headers: dict[Any, Any], parent: str, left: tuple[str, ...]
    ) -> None:
        """Have a task wait for another parent."""
        properties = {**message.properties, "application_headers": {**headers, DEPENDS_HEADER: list(left)}}
        queue = after_queue(owner, parent)
        self._turns.publisher.publish(
            body_of(message),
            routing_key=queue.routing_key,
            exchange=queue.exchange.name,
            properties=properties,
            into=queue,
        )
        self._awaited.mark(owner, [(left, parent)])
        if self._awaited.standings(owner, [parent])[parent] in FINAL:
            self._todo.append((owner, parent))

    def _fail(self, message: Message, whose: Whose, headers: dict[Any, Any], because: str) -> None:
        """Put a task among the dead letters, and have those that wait for it come to their end as well."""
        owner, tenant = whose.owner, whose.tenant
        queue = queue_name(tenant)
        death = Death("dependency", because)
        buried = buried_now(whose.in_headers(headers), death, queue=queue, tenant=tenant)
        properties = {**message.properties, "application_headers": buried}
        self._turns.publisher.publish(
            body_of(message), routing_key=DEAD_QUEUE, exchange="", properties=properties
        )
        logger.error("task %s of %s goes to %s: %s", headers["id"], owner, DEAD_QUEUE, because)
        task = self._task(headers)
        self._turns.recorder.failed(task, owner, headers, "DependencyFailed", because)
        with suppress(RegistryUnavailable):
            self._turns.registry.history.add({tenant: Ended(failed=1)})
        try:
            report_failure(
                self._turns.app,
                headers,
                json.loads(body_of(message)),
                DependencyFailed(because),
                queue=queue,
            )
        except Exception:  # whatever the app's backend, and its error callbacks, raise
            logger.exception("that task %s has failed is not in the result backend", headers["id"])
        for parent in self._awaited.ended(owner, {headers["id"]: "FAILURE"}):
            self._todo.append((owner, parent))

    def _task(self, headers: dict[Any, Any]) -> Any:
        return self._turns.app.tasks.get(headers.get("task"))


def release(
    turns: TakeTurns, awaited: Awaited, parents: Iterable[tuple[str, str]], *, most: int | None = None
) -> int:
    """Let go of the tasks that wait for others which have ended, and return how many there were.

    Args:
        turns: the installed extension.
        awaited: knows how the parents stand.
        parents: those that have ended, each with its owner. With one that has not, nothing happens.
        most: tasks that wait for one of them, at most; None: all.

    Raises:
        BrokerUnavailable: RabbitMQ is away; what was not let go of waits on.
        RegistryUnavailable: Redis is away; the same.
    """
    seconds = turns.settings.broker.publish_timeout
    with own_connection(turns.app, seconds=seconds, purpose="blocked tasks") as connection:
        return Release(turns, awaited, connection, most).run(parents)


def _due(headers: dict[Any, Any], now: float) -> float | None:
    """Return when a task that is let go of is due, in seconds since 1970; None: at once."""
    seconds = headers.get(COUNTDOWN_HEADER)
    if isinstance(seconds, int | float) and seconds > 0:
        return now + seconds
    with suppress(TypeError, ValueError):
        due = moment(headers[ETA_HEADER]) if ETA_HEADER in headers else now
        return due if due > now else None
    return None
