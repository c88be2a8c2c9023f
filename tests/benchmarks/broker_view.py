"""What the broker says of a lab's queues and messages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

if TYPE_CHECKING:
    from benchmarks.lab import Broker, Lab

_TIMEOUT = 60.0
_STATISTICS_AFTER = 6.0  # seconds; the broker's counts of deliveries are up to 5 s old
_LIVE = {
    "disable_stats": "true",
    "enable_queue_totals": "true",
    "columns": "name,messages_unacknowledged",
}


def unacknowledged(lab: Lab) -> int:
    """Return how many messages the lab's consumers hold, as every queue says at this moment."""
    listing = _get(lab, f"queues/{quote(lab.name)}", _LIVE)
    return sum(queue.get("messages_unacknowledged") or 0 for queue in listing)


def deliveries(lab: Lab) -> int:
    """Return how many messages were delivered so far that have to be acknowledged; waits for that count."""
    time.sleep(_STATISTICS_AFTER)
    counts = _get(lab, f"vhosts/{quote(lab.name)}", {}).get("message_stats", {})
    return int(counts.get("deliver", 0)) + int(counts.get("get", 0))


def files(broker: Broker) -> int | None:
    """Return how many files the broker's node may open; None if it does with few.

    RabbitMQ 4 keeps a file open for each backlogged queue, and two for one that is read from; a node that runs out
    of them goes down. RabbitMQ 3 closes and opens them again.
    """
    if broker.version.startswith("3."):
        return None
    return min(int(node["fd_total"]) for node in _ask(broker, "nodes", {"columns": "fd_total"}))


def _get(lab: Lab, path: str, parameters: dict[str, str]) -> Any:
    return _ask(lab.broker, path, parameters)


def _ask(broker: Broker, path: str, parameters: dict[str, str]) -> Any:
    response = requests.get(f"{broker.management_url}/api/{path}", params=parameters, timeout=_TIMEOUT)
    response.raise_for_status()
    return response.json()
