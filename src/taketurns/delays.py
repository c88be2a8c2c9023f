"""Delays that wait in the broker: a ladder of queues, each twice as long as the one below it.

Level *k* holds a message for 2^k times 100 ms. A message carries a boolean header for each level, up to
``taketurns_d24``; the level's headers exchange sends it into the level's queue if its header is true, and else to
the next level at once. What expires in a queue goes to the next level as well, and from the last one into the shared
exchange. The routing key is never touched, so that it may be any tenant's.

The queues are permanent quorum queues: they exist once, whatever the number of tenants, and a message moves on
only after the next queue has confirmed it.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from taketurns.errors import InvalidInput
from taketurns.topology import EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LEVELS: Final = 25
STEP: Final = 0.1
"""Seconds that the lowest level holds a message, and the smallest delay."""

ETA_HEADER: Final = "taketurns_eta"
"""The header of a delayed message that says when it is due, in ISO form."""

_SIGNIFICANT_BITS = 8

LONGEST: Final = ((2**_SIGNIFICANT_BITS - 1) << (LEVELS - _SIGNIFICANT_BITS)) * STEP
"""Seconds of the longest delay, 38.7 days."""

_LATE: Final = 1.0  # seconds; no broker is killed and back, and no other node takes over, in less

# A prefix of our own, since a task may have headers of its own.
_HEADERS = tuple(f"taketurns_d{level}" for level in range(LEVELS))


def plan(seconds: float) -> tuple[str, dict[str, bool]]:
    """Return the exchange to publish to, and the headers to add, for a delay of ``seconds``.

    The delay is rounded up to 8 significant bits of 100 ms, so that it takes 8 hops at most: a message never
    comes early, and late by less than 0.8 % or 100 ms, whichever is more (and what the hops take).

    Raises:
        InvalidInput: it is longer than 38.7 days, or no finite number.
    """
    if not 0 <= seconds <= LONGEST:
        raise InvalidInput(
            seconds, f"0 to {LONGEST:.0f} seconds ({LONGEST / 86400:.1f} days)", field="countdown"
        )
    # A delay such as 0.3 is a little more than three steps in floating point.
    steps = max(1, math.ceil(seconds / STEP - 1e-6))
    spare = max(0, steps.bit_length() - _SIGNIFICANT_BITS)
    steps = -(-steps >> spare) << spare
    top = steps.bit_length() - 1
    return exchange_name(top), {_HEADERS[level]: bool(steps >> level & 1) for level in range(top + 1)}


def exchange_name(level: int) -> str:
    """Return the name of a level's exchange, which is its queue's name as well."""
    return f"usersequence.delay.{2**level * 100}"


def without_deaths(headers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return message headers without what RabbitMQ added to them on an earlier way through the ladder.

    RabbitMQ up to 3.x takes a message for one that goes round in circles, and drops it, when it expires into a
    queue that its x-death header names already; a task that retries would be lost.
    """
    traces = ("x-first-death-", "x-last-death-")
    return {
        name: value
        for name, value in (headers or {}).items()
        if name != "x-death" and not str(name).startswith(traces)  # bytes, if it is no UTF-8
    }


def last_death(headers: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return what RabbitMQ noted when it last moved the message from one queue to another; empty if it did not."""
    match (headers or {}).get("x-death"):
        case [dict(last), *_]:
            return last
    return {}


def left_late(headers: Mapping[str, Any]) -> bool:
    """Tell whether a delayed message left the ladder a second after it was due, or later.

    A level that dies between the next queue's confirm and its own note of it has the message still, and moves it
    once more when it is back: such a copy is late, and nothing tells it from a first delivery.
    """
    died = last_death(headers).get("time")  # in UTC and whole seconds, rounded down
    if ETA_HEADER not in headers or not isinstance(died, datetime):
        return False
    try:
        due = moment(str(headers[ETA_HEADER]))
    except ValueError:
        return False
    return died.replace(tzinfo=UTC).timestamp() >= due + _LATE


def moment(eta: str) -> float:
    """Return the seconds since the epoch of a time in ISO form, which is UTC unless it says otherwise.

    Raises:
        ValueError: it is none.
    """
    due = datetime.fromisoformat(eta)
    return (due if due.tzinfo else due.replace(tzinfo=UTC)).timestamp()


def without_traces(headers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return message headers without anything that an earlier way through the ladder left in them."""
    return {name: value for name, value in without_deaths(headers).items() if name not in _HEADERS}


def ladder() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the queues of the ladder from the bottom up, each with its arguments."""
    below = EXCHANGE
    for level in range(LEVELS):
        name = exchange_name(level)
        yield (
            name,
            {
                "x-queue-type": "quorum",
                "x-message-ttl": 2**level * 100,
                "x-dead-letter-exchange": below,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            },
        )
        below = name


def declare(channel: Any) -> None:
    """Declare the ladder, on an open channel; the shared exchange must exist. May be repeated.

    From the bottom up, so that no message can reach a level whose way down is not complete.
    """
    for level, (name, arguments) in enumerate(ladder()):
        below = arguments["x-dead-letter-exchange"]
        channel.queue_declare(queue=name, durable=True, auto_delete=False, arguments=arguments)
        channel.exchange_declare(exchange=name, type="headers", durable=True, auto_delete=False)
        channel.exchange_bind(
            destination=below, source=name, arguments={"x-match": "all", _HEADERS[level]: False}
        )
        channel.queue_bind(queue=name, exchange=name, arguments={"x-match": "all", _HEADERS[level]: True})
