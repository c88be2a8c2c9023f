"""A worker among others: which queues are its own, what tenants had elsewhere, and where it helps.

What a tenant had on other workers is charged here too, or the errors of its share on each of them would add up. With
more tenant queues than a worker keeps consumers on, two workers own each; and a worker that is idle helps with queues
that wait elsewhere, so that a lone tenant still gets all workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import uuid4

from taketurns.registry.usage import Report, Spent
from taketurns.worker.elsewhere import Elsewhere
from taketurns.worker.newcomers import patience
from taketurns.worker.ownership import owners_of_each, ranks
from taketurns.worker.telling import Telling

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from taketurns.registry.usage import Totals
    from taketurns.worker.discovery import Found
    from taketurns.worker.dispatcher import Dispatcher

_TOLD: Final = 50
"""Waiting queues that a worker tells the others of, those whose turn is next."""

_WATCHED: Final = 1000
"""Waiting tenants of which a worker asks what they had elsewhere: more than have a turn until it asks again."""

_MARKED: Final = 5000
"""Tenants that began to wait of which it asks, so that what they have elsewhere from then on is known."""


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
        self._elsewhere = Elsewhere()
        self._telling = Telling(uuid4().hex)

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
        self._elsewhere.keep(found.backlogs)

    def ranks(self, queues: Iterable[str]) -> dict[str, int]:
        """Return those on which this worker keeps a consumer, each with its rank among those that do."""
        return ranks(queues, self._name, self._workers, self._owners)

    def meet(self, workers: Sequence[str]) -> bool:
        """Take in who lives; tell whether that has changed."""
        before, self._workers = self._workers, tuple(workers)
        return self._workers != before

    def report(self, dispatcher: Dispatcher) -> Report:
        """Return what to tell the others."""
        turns = dispatcher.turns
        self._elsewhere.enter(turns.accounts.take_entered())
        taken = turns.accounts.take_used()
        if len(self._workers) == 1:  # what there was before another one came nobody has to pay for
            self._elsewhere.lose()
            self._telling.forget()
            number, _ = self._telling.lot
            return Report(self._name, number, {}, (), (), idle=False)
        self._telling.gather(
            {queue: Spent(round(seconds * 1e6), tasks) for queue, (seconds, tasks) in taken.items()}
        )
        if (lot := self._telling.next_lot()) is not None:
            self._elsewhere.tell(lot)
        number, used = self._telling.lot
        watched = {tenant.queue for tenant in turns.contenders(_WATCHED)}
        watched.update(self._elsewhere.unmarked(_MARKED))
        if not self.shares_queues:
            return Report(self._name, number, used, watched, (), idle=False)
        waiting = [tenant.queue for tenant in turns.line.about_first(_TOLD)]
        return Report(self._name, number, used, watched, waiting, dispatcher.is_idle())

    def take_in(self, totals: Totals, dispatcher: Dispatcher) -> None:
        """Charge the tenants that wait here for what they had elsewhere; the report has been taken in."""
        self._telling.arrived()
        for queue, (microseconds, tasks) in self._elsewhere.take_in(totals.used).items():
            dispatcher.turns.charge(queue, microseconds / 1e6, tasks)
        dispatcher.turns.accounts.told()
        dispatcher.turns.newcomers.patience = patience(self._owners)

    def to_help(self, totals: Totals, dispatcher: Dispatcher) -> Iterable[str]:
        """Return the queues of others with which this worker should help now: one for each slot that is free."""
        if not dispatcher.is_idle():
            return ()
        return [queue for queue in totals.waiting if queue not in dispatcher.turns][: dispatcher.free_slots()]
