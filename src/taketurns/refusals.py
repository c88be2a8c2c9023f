"""What RabbitMQ says when it does not let a user do something, read for the error that tells what to do. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from amqp import spec
from amqp.exceptions import AccessRefused, NotAllowed

from taketurns.errors import BrokerRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

_RESOURCE: Final = re.compile(
    r"(?:(?P<permission>configure|write|read) )?access to (?P<resource>(?P<kind>queue|exchange|topic) '.*' "
    r"in vhost '.*') refused for user '(?P<user>.*)'",
    re.DOTALL,
)

# RabbitMQ 3.10 names the resource only. Where several permissions are needed of it, each may be the missing one: what
# is declared with a dead-letter or alternate exchange has to be readable, and that exchange writable.
_PERMISSIONS: Final[Mapping[tuple[tuple[int, ...], str], str]] = {
    (spec.Exchange.Declare, "exchange"): "configure, read or write",
    (spec.Exchange.Delete, "exchange"): "configure",
    (spec.Queue.Declare, "queue"): "configure or read",
    (spec.Queue.Declare, "exchange"): "write",
    (spec.Queue.Delete, "queue"): "configure",
    (spec.Queue.Bind, "queue"): "write",
    (spec.Queue.Bind, "exchange"): "read",
    (spec.Queue.Unbind, "queue"): "write",
    (spec.Queue.Unbind, "exchange"): "read",
    (spec.Basic.Consume, "queue"): "read",
    (spec.Basic.Get, "queue"): "read",
    (spec.Basic.Publish, "exchange"): "write",
}
_ANY: Final = "write or read"

GRANT: Final = (
    "`rabbitmqctl set_permissions` grants it; docs/operations.md, Permissions, says what each process needs"
)
BROKER_URL: Final = "the app's broker_url (TAKETURNS_AMQP_URL if it has none)"
_LOG_IN: Final = f"see that user and password of {BROKER_URL} are right"
_CONNECT: Final = f"see that the vhost of {BROKER_URL} exists, and that its user has permissions there"


def refused(error: BaseException, *, user: str | None) -> BrokerRefused | None:
    """Return the error to raise for a refusal, or None if this is another error.

    Args:
        error: what py-amqp has raised.
        user: whose connection it was.
    """
    if isinstance(error, AccessRefused):
        return access_refused(error.reply_text or "", error.method_sig, user=user)
    if isinstance(error, NotAllowed) and tuple(error.method_sig or ()) == spec.Connection.Open:
        return BrokerRefused(user, f"can't connect ({_said(error.reply_text)})", _CONNECT)
    return None


def access_refused(text: str, method: tuple[int, int] | None, *, user: str | None) -> BrokerRefused:
    """Return the error for the text of a 403 and the method that it answers."""
    found = _RESOURCE.search(text)
    if found is None:
        return BrokerRefused(user, f"is not let in ({_said(text)})", _LOG_IN)
    permission = found["permission"] or _PERMISSIONS.get((tuple(method or ()), found["kind"]), _ANY)
    return BrokerRefused(found["user"], f"may not {permission} {found['resource']}", GRANT)


def _said(text: str | None) -> str:
    """Return RabbitMQ's reason without its code."""
    return (text or "").partition(" - ")[2] or str(text)
