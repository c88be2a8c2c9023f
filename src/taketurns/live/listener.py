"""One who listens: the events that were told and not taken yet, up to a number."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from taketurns.live.event import Event

MOST: Final = 1000
"""Events that wait for a listener, at most; who is behind looks for the others where they are remembered."""


class Listener:
    """Hears events, in an event loop.

    Attributes:
        is_behind: whether it may have missed events, and is to look for them before it takes the next one.
        has_to_end: whether it hears no more, since the process stops.
    """

    def __init__(self) -> None:
        self.is_behind = True
        self.has_to_end = False
        self._heard: deque[Event] = deque()
        self._any = asyncio.Event()

    def hear(self, event: Event) -> None:
        """Keep an event until it is taken; when there are too many, it falls behind."""
        if self.has_to_end or self.is_behind:
            return
        if len(self._heard) >= MOST:
            self.fall_behind()
            return
        self._heard.append(event)
        self._any.set()

    def fall_behind(self) -> None:
        """Have it look for what it may have missed, with what it has heard."""
        self.is_behind = True
        self._heard.clear()
        self._any.set()

    def end(self) -> None:
        """Let it hear no more, and forget what it did not take: it can ask for that again."""
        self.has_to_end = True
        self._heard.clear()
        self._any.set()

    def take(self) -> Event | None:
        """Return the next event that was heard; None: there is none."""
        return self._heard.popleft() if self._heard else None

    async def wait(self, seconds: float) -> bool:
        """Wait until there is something to do, so many seconds at most, and tell whether there is."""
        if not (self._heard or self.is_behind or self.has_to_end):
            self._any.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._any.wait()
            except TimeoutError:
                return False
        return True
