"""What tenants had on other workers than this one, worked out from what all of them have told together. Pure.

Of few of the waiting tenants the totals are asked for at a time, those whose turn is near, so that what an exchange
costs does not grow with their number. A tenant's last known total, its *mark*, is kept until the next one is known.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from taketurns.registry.usage import Spent

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Mapping


class Elsewhere:
    """Keeps the marks of the queues that this worker serves."""

    def __init__(self) -> None:
        self._marks: dict[str, Spent] = {}
        self._unmarked: dict[str, None] = {}
        self._heard: Collection[str] = ()

    def enter(self, queues: Iterable[str]) -> None:
        """Let queues begin anew: what they had before is not charged here.

        But a mark of the last exchange stays, or a tenant that begins anew all the time, since a limit binds it or it
        submits a task when the last one has ended, would never be charged.
        """
        for queue in queues:
            if queue not in self._heard:
                self._marks.pop(queue, None)
                self._unmarked[queue] = None

    def unmarked(self, count: int) -> Iterable[str]:
        """Return so many of the queues that need a mark."""
        return islice(self._unmarked, count)

    def tell(self, used: Mapping[str, Spent]) -> None:
        """Note what this worker adds to the totals itself."""
        for queue, spent in used.items():
            if (mark := self._marks.get(queue)) is not None:
                self._marks[queue] = Spent(mark.microseconds + spent.microseconds, mark.tasks + spent.tasks)

    def take_in(self, totals: Mapping[str, Spent]) -> dict[str, Spent]:
        """Return what queues had on other workers since their marks, and set these anew."""
        found = {}
        for queue, total in totals.items():
            mark = self._marks.get(queue)
            if mark is None:
                self._unmarked.pop(queue, None)
            elif total.tasks >= mark.tasks and total != mark:  # or the totals have been lost
                found[queue] = Spent(total.microseconds - mark.microseconds, total.tasks - mark.tasks)
            self._marks[queue] = total
        self._heard = totals.keys()
        return found

    def lose(self) -> None:
        """Forget the marks: what was told, or not told, from now on is not in them."""
        self._unmarked.update(dict.fromkeys(self._marks))
        self._marks.clear()
        self._heard = ()

    def keep(self, queues: Container[str]) -> None:
        """Forget all other queues, which are gone."""
        self._marks = {queue: mark for queue, mark in self._marks.items() if queue in queues}
        self._unmarked = {queue: None for queue in self._unmarked if queue in queues}
