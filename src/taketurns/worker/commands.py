"""What the scheduler tells its caller to do, and the reasons for which it serves a queue not at all."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Generic, TypeVar

M = TypeVar("M")
"""A message, as the caller knows it: any hashable object."""


class Park(enum.Enum):
    """Why a queue is not served although it may hold messages."""

    THROTTLED = "throttled"
    PAUSED = "paused"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Listen:
    """Subscribe to the queue with a credit of one."""

    queue: str


@dataclass(frozen=True, slots=True)
class Unlisten:
    """Cancel the subscription to the queue."""

    queue: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask for ``count`` messages; each is answered by ``fetched``, ``fetch_empty`` or ``fetch_failed``."""

    queue: str
    count: int


@dataclass(frozen=True, slots=True)
class Start(Generic[M]):
    """Give the message a slot; then ``settling`` and ``settled`` follow, or ``refused`` at once."""

    message: M


@dataclass(frozen=True, slots=True)
class GiveBack(Generic[M]):
    """Requeue the message, which was not started."""

    message: M


Command = Listen | Unlisten | Fetch | Start[M] | GiveBack[M]
