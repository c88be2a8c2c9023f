"""The ports of private nodes: kept as long as nobody else has them."""

from __future__ import annotations

import socket
from dataclasses import asdict
from typing import TYPE_CHECKING

from taketurns.services.identity import Identity, Ports
from taketurns.services.ports import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path


def test_only_a_port_that_was_taken_is_chosen_anew(tmp_path: Path) -> None:
    """A server that is about to start gets another port if its own was taken; the other servers keep theirs."""
    every = list(Ports.__dataclass_fields__)
    before = Identity.prepare(tmp_path, every)
    with (
        socket.create_server((LOOPBACK, before.ports.redis)),
        socket.create_server((LOOPBACK, before.ports.amqp)),
    ):
        after = Identity.prepare(tmp_path, ["redis"])  # RabbitMQ runs, and has its port itself
    changed = {name for name, port in asdict(before.ports).items() if getattr(after.ports, name) != port}
    assert changed == {"redis"}
    assert Identity.read(tmp_path) == after
    assert Identity.prepare(tmp_path, every) == after
