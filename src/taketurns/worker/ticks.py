"""What kombu's loop calls in each pass, in an order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Ticks(set["Callable[[], None]"]):
    """``hub.on_tick`` in which one callback comes first: kombu calls a copy of it, which has the order of a set.

    Prefork's callback asks for the pipes to its processes to be watched if tasks wait. Were it called before ours, a
    task that ours starts would wait until something else wakes the loop.
    """

    first: Callable[[], None] | None = None

    def __copy__(self) -> list[Callable[[], None]]:
        return sorted(self, key=lambda callback: callback != self.first)


def put_first(hub: Any, first: Callable[[], None]) -> None:
    """Have a loop call this first in each pass, until it is discarded from ``hub.on_tick``."""
    hub.on_tick = Ticks({*hub.on_tick, first})
    hub.on_tick.first = first
