"""What of a received message goes along when it is sent on. Pure: no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from taketurns.delays import without_deaths

if TYPE_CHECKING:
    from collections.abc import Mapping

# The broker drops an expired message unseen, and refuses one that names another user than the one who sends it.
_LEFT: Final = frozenset({"expiration", "user_id"})
# With these RabbitMQ puts further copies into other queues.
_COPIES: Final = frozenset({"CC", "BCC"})

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
