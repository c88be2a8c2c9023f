"""What other workers are to be told of the tenants' usage, each of it once although an answer may be lost. Pure."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from taketurns.registry.usage import Spent

if TYPE_CHECKING:
    from collections.abc import Mapping


class Telling:
    """Gathers what tasks took, and gives it out in numbered lots until each has arrived.

    Args:
        run: tells the numbers from those of another process of the same worker.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._numbers = itertools.count(1)
        self._gathered: dict[str, Spent] = {}
        self._lot: Mapping[str, Spent] = {}
        self._number = ""
        self._arrived = True

    def gather(self, used: Mapping[str, Spent]) -> None:
        """Take in what queues' tasks took."""
        for queue, spent in used.items():
            before = self._gathered.get(queue)
            self._gathered[queue] = (
                spent
                if before is None
                else Spent(before.microseconds + spent.microseconds, before.tasks + spent.tasks)
            )

    def next_lot(self) -> Mapping[str, Spent] | None:
        """Begin a lot of all that was gathered, unless the last one may not have arrived and is to be told again."""
        if not self._arrived:
            return None
        self._lot, self._gathered = self._gathered, {}
        self._number = f"{self._run}:{next(self._numbers)}"
        self._arrived = False
        return self._lot

    @property
    def lot(self) -> tuple[str, Mapping[str, Spent]]:
        """The number and the content of what is to be told now."""
        return self._number, self._lot

    def arrived(self) -> None:
        """Note that the lot has been taken in, now or before."""
        self._arrived = True

    def forget(self) -> None:
        """Let go of all that was not told: nobody is there who would want to know."""
        self._gathered = {}
        self._lot, self._arrived = {}, True
