"""Messages of tenant queues, and what is told of them and of the channels that bring them."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from kombu.transport import pyamqp

from taketurns.sending_on import REDELIVERED_HEADER
from taketurns.tenants import owner_by, tenant_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from taketurns.worker.channels import TenantChannel

_ACCEPTED = frozenset({"application/json"})


class Listener(Protocol):
    """What the channels tell; all calls come from the worker's loop."""

    def on_delivered(self, queue: str, message: TenantMessage) -> None:
        """A listened queue delivered a message."""

    def on_fetched(self, queue: str, message: TenantMessage, remaining: int | None) -> None:
        """A fetch brought a message; ``remaining`` is what the queue still holds, if the broker said so."""

    def on_unlistened(self, queue: str) -> None:
        """The broker ended a subscription, or the channel of it is gone."""

    def on_cancelled(self, queue: str) -> None:
        """The broker confirmed an ``unlisten``: nothing more comes of that subscription."""

    def on_fetch_empty(self, queue: str, count: int) -> None:
        """So many fetches found the queue empty."""

    def on_fetch_lost(self, queue: str, count: int) -> None:
        """So many fetches will get no answer."""

    def on_refused(self, queue: str, code: int, text: str) -> None:
        """The broker refused to let this queue be fetched from, or listened to, with an AMQP reply code."""

    def on_vanished(self, message: TenantMessage) -> None:
        """The broker took the message back: its channel is gone. Its task, if started, runs on."""

    def on_settling(self, message: TenantMessage) -> None:
        """The message is about to be acknowledged, rejected or requeued."""

    def on_settled(self, message: TenantMessage) -> None:
        """The message was acknowledged, rejected or requeued; called once."""


class TenantMessage(pyamqp.Message):
    """A message of a tenant queue; it reports its settlement, once, however it comes about."""

    def __init__(self, raw: Any, channel: TenantChannel, queue: str) -> None:
        self.queue = queue
        super().__init__(raw, channel=channel, accept=_ACCEPTED)
        headers = self.headers or {}
        self.redelivered = bool(raw.delivery_info.get("redelivered") or headers.get(REDELIVERED_HEADER))
        self.kind = str(headers.get("task", ""))
        """The name of its task, as far as it has one."""
        self.came_at = monotonic()

    @property
    def tenant(self) -> str:
        """The tenant whose queue it came from."""
        return tenant_by(self.queue)

    @property
    def owner(self) -> str:
        """Who submitted it: the tenant, or one of those that share it."""
        return owner_by(self.headers, self.tenant)

    @property
    def is_ours(self) -> bool:
        """Whether it waits here to be settled; if not it was, or the broker has it back."""
        return not self.acknowledged and self.channel.usable

    def ack(self, multiple: bool = False) -> None:  # noqa: FBT001, FBT002  # kombu's signature
        """Acknowledge; nothing is sent if the channel is gone, since the broker then has the message back."""
        self._settle(super().ack, multiple=multiple)

    def reject(self, requeue: bool = False) -> None:  # noqa: FBT001, FBT002  # kombu's signature
        """Reject; with ``requeue`` it goes back to its old place in the queue."""
        self._settle(super().reject, requeue=requeue)

    def requeue(self) -> None:
        """Give the message back; it returns to its old place in the queue."""
        self._settle(super().requeue)

    def _settle(self, send: Callable[..., None], **kwargs: bool) -> None:
        if self.acknowledged:
            return
        channel: TenantChannel = self.channel
        channel.listener.on_settling(self)
        try:
            if channel.usable:
                send(**kwargs)
            else:
                self._state = "REQUEUED"
        finally:
            channel.settled(self)
