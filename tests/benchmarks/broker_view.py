"""What the broker says of a lab's queues and messages."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from benchmarks.fleet import cpu_seconds

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


def unacknowledged_by_channel(lab: Lab) -> int:
    """Return the same as every channel says, in a moment however many queues there are.

    Where the benchmark can't run ``rabbitmqctl`` the queues tell; of 10,000 queues the first is asked a second before
    the last.
    """
    if lab.broker.ctl is None:
        return unacknowledged(lab)
    columns = ("vhost", "messages_unacknowledged")
    rows = json.loads(lab.broker.ctl("list_channels", *columns, "--formatter", "json"))
    return sum(row["messages_unacknowledged"] for row in rows if row["vhost"] == lab.name)


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
    return int(_described(broker, "fd_total")["fd_total"])


class Node:
    """The broker's process: what it uses of memory and CPU. One node, on this machine."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        node = _described(broker, "name", "os_pid", "mem_limit")
        self._name = node["name"]
        self._pid = int(node["os_pid"])
        self.memory_limit = int(node["mem_limit"])
        """Bytes from which on it accepts no more messages."""

    def used(self) -> int:
        """Return the bytes of all that the node holds, without what it has reserved: by its own account."""
        memory = _ask(self._broker, f"nodes/{quote(self._name)}/memory", {})
        return int(memory["memory"]["total"]["erlang"])

    def resident(self) -> int:
        """Return the bytes of memory that the node's process occupies."""
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

    def cpu(self) -> float:
        """Return the CPU seconds that it has used."""
        return cpu_seconds(self._pid)


def _described(broker: Broker, *columns: str) -> dict[str, Any]:
    """Return what the node says of itself; one that has just started says little at first, or an error."""
    deadline = time.monotonic() + _TIMEOUT
    while True:
        answer = _ask(broker, "nodes", {"columns": ",".join(columns)})
        if isinstance(answer, list) and len(answer) == 1 and all(column in answer[0] for column in columns):
            node: dict[str, Any] = answer[0]
            return node
        if time.monotonic() > deadline:
            raise TimeoutError(f"the node does not tell its {', '.join(columns)}, but {answer!r}")
        time.sleep(0.5)


def _get(lab: Lab, path: str, parameters: dict[str, str]) -> Any:
    return _ask(lab.broker, path, parameters)


def _ask(broker: Broker, path: str, parameters: dict[str, str]) -> Any:
    response = requests.get(f"{broker.management_url}/api/{path}", params=parameters, timeout=_TIMEOUT)
    response.raise_for_status()
    return response.json()
