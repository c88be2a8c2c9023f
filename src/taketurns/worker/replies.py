"""What a worker answers to remote control goes back by the connection on which it was asked, without waiting."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kombu import Exchange, Producer
from kombu.pidbox import Node

if TYPE_CHECKING:
    from celery import Celery


def reply_at_once(app: Celery) -> None:
    """Have this process's worker, if it is started after this, reply so; may be repeated.

    Celery's own publishes through the app's pool of connections, and waits until the exchange of the replies is
    declared there: in the worker's loop, and without end. For as long as nobody answers on that connection no task
    would start, and no heartbeat be missed.
    """
    app.control.mailbox.node_cls = _Node


class _Node(Node):
    """The worker's end of remote control."""

    def reply(self, data: Any, exchange: str, routing_key: str, ticket: str, **_: Any) -> None:
        """Send what a command returned. A connection that is lost is not told of here: the loop comes upon it."""
        replies = Exchange(
            exchange, type="direct", delivery_mode="transient", durable=False, channel=self.channel
        )
        client = self.channel.connection.client
        with suppress(*client.recoverable_connection_errors):
            replies.declare(nowait=True)  # to publish to one that is missing would close the channel
            _confirm_nothing(self.channel)
            Producer(self.channel, auto_declare=False).publish(
                data,
                exchange=replies,
                routing_key=routing_key,
                serializer=self.mailbox.serializer,
                headers={"ticket": ticket, "clock": self.mailbox.clock.forward()},
            )


def _confirm_nothing(channel: Any) -> None:
    """Have a channel publish without a confirm, also with ``confirm_publish`` in the app's transport options.

    py-amqp waits for it and handles what comes meanwhile: a second command, whose reply is waited for inside of the
    first one's wait. RabbitMQ may confirm both at once, and py-amqp then ends the inner wait alone: the loop stands.
    """
    vars(channel).pop("basic_publish", None)  # the class's own is the plain one
