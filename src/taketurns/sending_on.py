"""What of a received message goes along when it is sent on. Pure: no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from taketurns.delays import without_deaths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from amqp import Message

# The broker drops an expired message unseen, and refuses one that names another user than the one who sends it.
_LEFT: Final = frozenset({"expiration", "user_id"})
# With these RabbitMQ puts further copies into other queues.
_COPIES: Final = frozenset({"CC", "BCC"})

REDELIVERED_HEADER: Final = "taketurns_redelivered"
"""Tells of a copy that its original had been delivered before, and so may have been copied before.

RabbitMQ calls the delivery of any copy a first one."""

_LARGEST_INT: Final = 2**31 - 1


def sent_on(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the AMQP properties for the copy of a message: persistent, and for one queue alone."""
    headers = {
        name: _sendable(value)
        for name, value in without_deaths(properties.get("application_headers")).items()
        if name not in _COPIES
    }
    kept = {name: value for name, value in properties.items() if name not in _LEFT}
    return {**kept, "application_headers": headers, "delivery_mode": 2}


def headers_for_copy(message: Message) -> dict[Any, Any]:
    """Return the headers of a fetched message for its copy, which tell whether it was delivered before."""
    headers: dict[Any, Any] = message.properties.get("application_headers") or {}
    return {**headers, REDELIVERED_HEADER: True} if message.delivery_info["redelivered"] else headers


def _sendable(value: Any) -> Any:
    """Replace what py-amqp can read but not send: RabbitMQ ends a connection on which it writes a larger integer."""
    match value:
        case dict():
            return {key: _sendable(each) for key, each in value.items()}
        case list():
            return [_sendable(each) for each in value]
        case int() if abs(value) > _LARGEST_INT:
            return float(value) if int(float(value)) == value else str(value)
    return value
