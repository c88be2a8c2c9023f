"""The deletion of an idle quorum queue, which the broker does without any condition of its own.

A quorum queue refuses "delete if empty and unused", what the management API says of its messages is up to 5 s old,
and where its leader does not answer in time the broker says that it has no messages and no consumers. So two
consumers of our own are the witnesses: they are counted with all others, and a consumer that still holds a message
counts even after it was cancelled, and so does a client that holds one by ``basic.get`` (looked at on 3.10 and 4.3).

The way into the queue is closed before, so a message can only be there already: ready, or held by somebody.

1. The first witness subscribes; it has precedence, so whatever is or becomes ready goes to it and to nobody else.
2. The second one subscribes. It is there to be counted: a count without it would be none.
3. *Nothing ready, two consumers*: nobody but the first witness may hold anything, so nothing can come back any more.
4. The first witness is cancelled. *Nothing ready, one consumer*: it held nothing, so nothing had come.
5. The queue is deleted.

Whatever was delivered meanwhile goes back, and the queue stays. A stranger who publishes to the queue by its name,
past the exchange, after the last count loses the message: that alone a classic queue's condition would prevent.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from amqp.exceptions import NotFound

from taketurns.connections import PublishConnection

if TYPE_CHECKING:
    from celery import Celery

    from taketurns.management import Deletion

logger = logging.getLogger(__name__)


class Witnesses:
    """Deletes quorum queues in which nothing is and of which nobody holds anything. For one thread."""

    def __init__(self, app: Celery, *, timeout: float) -> None:
        """Prepare; nothing is opened yet.

        Args:
            app: the app, which knows the broker.
            timeout: seconds that the broker has for each queue.
        """
        self._timeout = timeout
        self._connection = PublishConnection.of(app)

    def delete_queue(self, name: str) -> Deletion:
        """Delete a quorum queue that is empty and unused; the way into it must be closed.

        Returns:
            ``deleted``; ``gone``: there was no such queue; ``refused``: a message or a consumer is there, or the
            broker could not tell.

        Raises:
            BrokerUnavailable: the broker did not do it in time. The queue may have been deleted.
        """
        self._connection.begin(self._timeout)
        with self._connection.ending_on_failure(f"RabbitMQ could not delete the queue {name}"):
            try:
                self._connection.default_channel  # noqa: B018  # connects
                # A channel for each: with it go both witnesses, and what they were given goes back.
                with self._connection.channel() as channel:
                    return _delete(channel, name)
            except NotFound:
                self._connection.collect()
                return "gone"

    def disconnect(self) -> None:
        """Close the connection; the next call opens a new one."""
        self._connection.begin(self._timeout)
        self._connection.release()


def _delete(channel: Any, name: str) -> Deletion:
    channel.basic_qos(0, 1, a_global=False)
    first = _subscribe(channel, name, precedence=1)
    _subscribe(channel, name, precedence=0)
    if _counts(channel, name) != (0, 2):
        return "refused"
    channel.basic_cancel(first)
    if _counts(channel, name) != (0, 1):
        return "refused"
    if lost := channel.queue_delete(name):
        logger.error("queue %s was deleted with %d messages that somebody sent past the exchange", name, lost)
    return "deleted"


def _subscribe(channel: Any, name: str, *, precedence: int) -> str:
    """Subscribe, with a credit of one, and return the consumer's tag."""
    tag: str = channel.basic_consume(
        name, callback=_ignore, on_cancel=_ignore, arguments={"x-priority": precedence}
    )
    return tag


def _counts(channel: Any, name: str) -> tuple[int, int]:
    """Return the messages that are ready, and the consumers, as the queue's leader has them now."""
    answer = channel.queue_declare(name, passive=True)
    return answer.message_count, answer.consumer_count


def _ignore(_: object) -> None:
    """Take a delivery, which goes back with its channel, or the end of the subscription."""
