"""What the ledger tells: who submitted what, which bodies ran when, and what was broken meanwhile. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chaos.ledger import Entry

SLACK: Final = 0.2
"""Seconds that an acknowledgement takes at most, and a message from a worker's main process into its pool."""

Outcome = Literal["accepted", "error", "unanswered"]


@dataclass
class Submission:
    """A task that somebody tried to submit; times in seconds since the epoch, its delay in seconds."""

    label: str
    tenant: str
    tried: float
    delay: float = 0.0
    answered: float = inf
    outcome: Outcome = "unanswered"
    error: str = ""


@dataclass
class Execution:
    """A body that began, and ended unless it was killed."""

    label: str
    worker: str
    started: float
    ended: float = inf


@dataclass(frozen=True)
class Fault:
    """Something that was broken from one moment to another; a kill takes no time.

    Attributes:
        name: what was done.
        began: when.
        ended: when what had been broken was back.
        doubles: whether what is in flight meanwhile may run twice; a clean stop of a worker doubles nothing.
        worker: the worker that was hit, if it was just one.
        tenant: for the deletion of a queue, whose it was.
        unwrites: whether the broker may have lost acknowledgements that it had not written down yet.
        redis: whether Redis was away, or has lost all that it knew.
        before: seconds before the fault whose acknowledgements may not have got through.
        after: seconds after the fault in which its victims may still go on unaware.
    """

    name: str
    began: float
    ended: float
    doubles: bool = True
    worker: str | None = None
    tenant: str | None = None
    unwrites: bool = False
    redis: Literal["away", "empty"] | None = None
    before: float = SLACK
    after: float = SLACK


@dataclass
class Story:
    """All of it, in the order in which it happened."""

    submissions: dict[str, Submission] = field(default_factory=dict)
    executions: dict[str, list[Execution]] = field(default_factory=lambda: defaultdict(list))
    workers: dict[str, float] = field(default_factory=dict)
    """When each worker was up."""
    removals: list[Fault] = field(default_factory=list)
    """Each removal of a queue by the reaper."""
    attempts: list[Fault] = field(default_factory=list)
    """Each of its attempts to remove one, the removals included."""
    faults: list[Fault] = field(default_factory=list)
    calm: tuple[float, float] | None = None
    """When nothing was broken yet and everything was up: what the throughput is compared with."""

    def __post_init__(self) -> None:
        self._open: dict[str, Execution] = {}
        self._batches: dict[str, float] = {}

    def add(self, entries: Iterable[Entry]) -> int:
        """Add records in the order in which they were written; return how many were about tasks."""
        count = 0
        for entry in entries:
            getattr(self, f"_{entry.kind}")(entry.at, *entry.words)
            count += entry.kind in {"try", "ok", "error", "start", "end"}
        return count

    @property
    def ran(self) -> set[str]:
        """The labels of the tasks of which some body reached its end."""
        return {label for label, runs in self.executions.items() if any(run.ended < inf for run in runs)}

    @property
    def unaccounted(self) -> set[str]:
        """The labels of the tasks that were accepted and have not run to their end."""
        accepted = {each.label for each in self.submissions.values() if each.outcome == "accepted"}
        return accepted - self.ran

    @property
    def ends(self) -> list[float]:
        """When bodies ended, in order."""
        return sorted(run.ended for runs in self.executions.values() for run in runs if run.ended < inf)

    def _try(self, at: float, label: str, tenant: str, delay: str = "0") -> None:
        self.submissions[label] = Submission(label, tenant, at, float(delay))

    def _ok(self, at: float, label: str) -> None:
        self._answer(at, label, "accepted")

    def _error(self, at: float, label: str, what: str) -> None:
        self._answer(at, label, "error")
        self.submissions[label].error = what

    def _answer(self, at: float, label: str, outcome: Outcome) -> None:
        submission = self.submissions[label]
        submission.answered, submission.outcome = at, outcome

    def _start(self, at: float, label: str, run: str, worker: str) -> None:
        self._open[run] = Execution(label, worker, at)
        self.executions[label].append(self._open[run])

    def _end(self, at: float, _label: str, run: str) -> None:
        self._open.pop(run).ended = at

    def _ready(self, at: float, worker: str) -> None:
        self.workers[worker] = at

    def _reaping(self, at: float, batch: str) -> None:
        self._batches[batch] = at

    def _removed(self, at: float, batch: str, tenant: str) -> None:
        self._spared(at, batch, tenant)
        self.removals.append(self.attempts[-1])

    def _spared(self, at: float, batch: str, tenant: str) -> None:
        self.attempts.append(Fault("removal", self._batches[batch], at, tenant=tenant))
