"""A worker among others: which queues are its own, what tenants had elsewhere, and where it helps.

With more tenant queues than a worker keeps consumers on, two workers own each. What a tenant had on the other one is
charged here too, or its share would be that of whoever owns its queue; and a worker that is idle helps with queues
that wait elsewhere, so that a lone tenant still gets all workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taketurns.registry.usage import Report
from taketurns.worker.ownership import owned, owners_of_each

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from taketurns.registry.usage import Totals
    from taketurns.worker.discovery import Found
    from taketurns.worker.dispatcher import Dispatcher

_TOLD: Final = 50
"""Waiting queues that a worker tells the others of, those whose turn is next."""


class Fleet:
    """What one worker knows of itself and the others. For the worker's loop.

    Args:
        name: this worker's node name.
        most: queues up to which every worker serves them all.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._known = 0
        self._workers: tuple[str, ...] = (name,)
        self._seen: Mapping[str, float] | None = None
        self._reported: Mapping[str, float] = {}

    @property
    def _owners(self) -> int:
        """How many workers own each queue."""
        return owners_of_each(self._known, len(self._workers), self._most)

    @property
    def shares_queues(self) -> bool:
        """Whether each worker owns some queues only."""
        return self._owners < len(self._workers)

    def learn(self, found: Found) -> None:
        """Take over which queues and workers there are."""
        self._known = len(found.backlogs)
        self._workers = found.workers

    def owns(self, queue: str) -> bool:
        """Tell whether this worker keeps a consumer on the queue."""
        return bool(owned([queue], self._name, self._workers, self._owners))

    def is_made_of(self, workers: Sequence[str]) -> bool:
        """Tell whether these are the workers by which the queues were shared out last."""
        return tuple(workers) == self._workers

    def report(self, dispatcher: Dispatcher) -> Report | None:
        """Return what to tell the others, if queues are shared out at all."""
        turns = dispatcher.turns
        used = turns.accounts.take_used()
        if not self.shares_queues:
            self._seen = None
            return None
        if self._seen is None:
            used = {}  # what there was before nobody has to pay for
        self._reported = used
        idle = dispatcher.is_idle()
        waiting = [] if idle else [tenant.queue for tenant in turns.line.first(_TOLD)]
        watched = {tenant.queue for tenant in (*turns.line, *turns.hand.holding)}
        return Report(used, watched, waiting, idle)

    def take_in(self, totals: Totals, dispatcher: Dispatcher) -> None:
        """Charge the tenants that wait here for what they had elsewhere since the last time."""
        before, self._seen = self._seen or {}, totals.seconds
        for queue in before.keys() & totals.seconds.keys():
            elsewhere = totals.seconds[queue] - before[queue] - self._reported.get(queue, 0.0)
            dispatcher.turns.charge(queue, max(0.0, elsewhere))

    def to_help(self, totals: Totals, dispatcher: Dispatcher) -> Iterable[str]:
        """Return the queues of others with which this worker should help now: one for each slot that is free."""
        if not dispatcher.is_idle():
            return ()
        return [queue for queue in totals.waiting if queue not in dispatcher.turns][: dispatcher.free_slots()]
