"""The exchange with other workers, at an interval: what tenants had here goes out, theirs comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taketurns.errors import TaketurnsError
    from taketurns.registry.usage import Totals
    from taketurns.worker.background import Background
    from taketurns.worker.discovery import Discovery
    from taketurns.worker.dispatcher import Dispatcher
    from taketurns.worker.fleet import Fleet

INTERVAL: Final = 0.5
"""Seconds until a worker knows what tenants had elsewhere, and who waits there."""


class Exchange:
    """Tells and hears, one time at a time. For the worker's loop.

    Args:
        fleet: what this worker knows of the others.
        discovery: talks to Redis.
        background: runs that.
        help_with: begins to help with a queue of others.
        others_own: is called when workers have come or gone, and queues have other owners.

    Attributes:
        dispatcher: serves the queues on the present connection; None while there is none.
    """

    def __init__(
        self,
        fleet: Fleet,
        discovery: Discovery,
        background: Background,
        *,
        help_with: Callable[[str], None],
        others_own: Callable[[], None],
    ) -> None:
        self.dispatcher: Dispatcher | None = None
        self._fleet = fleet
        self._discovery = discovery
        self._background = background
        self._help_with = help_with
        self._others_own = others_own
        self._under_way = False

    def __call__(self) -> None:
        """Begin, unless the last time is still under way."""
        if self.dispatcher is None or self._under_way:
            return
        report = self._fleet.report(self.dispatcher)
        self._under_way = True
        self._background.submit(lambda: self._discovery.exchange(report), self._heard, self._not_heard)

    def _heard(self, outcome: tuple[Totals, Sequence[str]]) -> None:
        self._under_way = False
        if self.dispatcher is None:
            return
        totals, workers = outcome
        self._fleet.take_in(totals, self.dispatcher)
        for queue in self._fleet.to_help(totals, self.dispatcher):
            self._help_with(queue)
        self.dispatcher.run()
        self._meet(self.dispatcher, workers)

    def _meet(self, dispatcher: Dispatcher, workers: Sequence[str]) -> None:
        """Take in who lives."""
        shared = self._fleet.shares_queues
        if not self._fleet.meet(workers):
            return
        if shared or self._fleet.shares_queues:
            self._others_own()
        else:
            for queue, rank in self._fleet.ranks(tuple(dispatcher.turns)).items():
                dispatcher.turns.set_rank(queue, rank)

    def _not_heard(self, _: TaketurnsError) -> None:
        self._under_way = False  # the store has said that Redis is away, and the report is told again
