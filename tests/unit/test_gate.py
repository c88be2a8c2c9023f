"""What the gate remembers of messages, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from celery import Celery
from celery.worker import state

from taketurns import TakeTurns
from taketurns.worker.gate import Gate


@dataclass(eq=False)
class Message:
    """A message, and whether it can still be settled here."""

    is_ours: bool


class Request:
    """Celery's request of a message."""


def test_what_no_process_took_is_forgotten_with_its_connection() -> None:
    """Celery never settles it. What runs is known until it has ended, and so is what came by a later connection."""
    consumer: Any = None
    background: Any = None
    gate = Gate(TakeTurns(Celery("shop")), consumer, background, "w1")
    waiting, running, later = Message(is_ours=False), Message(is_ours=False), Message(is_ours=True)
    requests: dict[Any, Any] = {message: Request() for message in (waiting, running, later)}
    gate.requests |= requests
    state.active_requests.add(requests[running])
    gate.forget_lost()
    assert set(gate.requests) == {running, later}
