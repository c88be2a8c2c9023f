"""What happened to a round's tasks, and what follows from it. Pure: no I/O and no clock."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from taketurns.demo.ledger import Entry


@dataclass
class Record:
    """The tasks of one round: when each was confirmed to its submitter, when it started and when it ended.

    All in seconds since 1970, by task id. What the tasks wrote of themselves may come before the confirmation.
    """

    confirmed: dict[str, float] = field(default_factory=dict)
    started: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    _tasks: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def submitted(self, tenant: str, task_id: str, confirmed: float) -> None:
        """Note that a task of a tenant was confirmed; any thread may."""
        self.confirmed[task_id] = confirmed
        self._tasks[tenant].append(task_id)

    def add(self, entries: Iterable[Entry]) -> None:
        """Take over what tasks wrote; the first start and the first end of each count."""
        for entry in entries:
            times = self.started if entry.event == "started" else self.ended
            times.setdefault(entry.task_id, entry.at)

    def tasks(self, tenant: str) -> list[str]:
        """Return the ids of a tenant's tasks."""
        return self._tasks[tenant].copy()  # other threads append meanwhile

    def all_ended(self) -> bool:
        """Tell whether every task has ended; for when all are submitted."""
        return self.confirmed.keys() <= self.ended.keys()

    def starts(self, tenant: str) -> list[float]:
        """Return when the tenant's tasks started, in order."""
        return sorted(self.started[each] for each in self.tasks(tenant) if each in self.started)

    def waits(self, tenant: str) -> list[float]:
        """Return the seconds from confirmation to start of the tenant's started tasks, in order."""
        started = (each for each in self.tasks(tenant) if each in self.started)
        return sorted(max(self.started[each] - self.confirmed[each], 0.0) for each in started)

    def shares(self, tenants: Sequence[str]) -> dict[str, float]:
        """Return each tenant's share of the starts while all these tenants had tasks waiting."""
        waiting = [
            (min(self.confirmed[each] for each in self.tasks(one)), self.starts(one)[-1]) for one in tenants
        ]
        begin, end = max(first for first, _ in waiting), min(last for _, last in waiting)
        counts = {one: sum(begin <= start <= end for start in self.starts(one)) for one in tenants}
        return {one: count / max(sum(counts.values()), 1) for one, count in counts.items()}


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that at least ``percent`` percent of them do not exceed; None of none."""
    if not ordered:
        return None
    return ordered[max(ceil(len(ordered) * percent / 100), 1) - 1]


def most_within(starts: Sequence[float], seconds: float) -> int:
    """Return how many of the ordered times lie in the fullest half-open window of so many seconds."""
    return max((bisect_left(starts, begin + seconds) - i for i, begin in enumerate(starts)), default=0)


def smallest_gap(starts: Sequence[float]) -> float:
    """Return the smallest distance between two neighbours of the ordered times; infinity for fewer than two."""
    return min((later - earlier for earlier, later in pairwise(starts)), default=inf)
