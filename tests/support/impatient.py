"""Private brokers that take a message back from a consumer after seconds, not after half an hour."""

from __future__ import annotations

from typing import Final

from support.nodes import TreeRabbitMQ
from taketurns.services.identity import write_private
from taketurns.services.rabbitmq import RabbitMQ

CONSUMER_TIMEOUT: Final = 8.0
"""Seconds after which they do so; a worker takes a task for a long one after five."""

_LATE: Final = 0.2
"""Seconds by which they may be late: how often a channel looks. RabbitMQ's default is a minute."""


class Impatient(RabbitMQ):
    """The installed RabbitMQ."""

    def prepare(self) -> list[str]:
        """See the base class."""
        command = super().prepare()
        more = self._home / "conf.d"
        more.mkdir(exist_ok=True)
        write_private(more / "impatient.conf", f"consumer_timeout = {CONSUMER_TIMEOUT * 1000:.0f}\n")
        # The one setting of the two that only Erlang's own form has.
        write_private(
            self._home / "advanced.config",
            f"[{{rabbit, [{{channel_tick_interval, {_LATE * 1000:.0f}}}]}}].\n",
        )
        return command


class ImpatientTree(Impatient, TreeRabbitMQ):
    """RabbitMQ 4.3 in its tree."""
