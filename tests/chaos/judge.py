"""What a story comes to: counts, and the bars that they are held against. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from math import inf
from typing import TYPE_CHECKING, Final

from taketurns.delays import STEP, plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from chaos.story import Execution, Fault, Story, Submission

BACK_WITHIN: Final = 10.0
BACK_TO: Final = 0.9
"""Within so many seconds of the service's return the throughput is so much of what it was."""

ANSWER_WITHIN: Final = 5.0
"""Seconds in which a submission is answered, whatever is away."""

NOTHING_ACCEPTED: Final = "BrokerUnavailable"
"""The error that promises that nothing was submitted."""

REFUSALS: Final = {NOTHING_ACCEPTED, "PublishNotConfirmed", "ConnectionLost", "HTTP-503"}
"""The answers to a submission that cannot be accepted now: errors of the library, and the status of the API."""

GROWTH: Final = 1.0
"""MB a minute that a process may grow by after its first three."""

_NOT_ASKED = 3.0
"""Seconds after which a process asks a Redis again that did not answer, and has told what it had kept meanwhile."""

_UNSYNCED = 1.5
"""Seconds before its kill of which Redis may have lost what was written: it syncs its file every second."""

_WINDOW = 1.0  # seconds over which a throughput is taken


@dataclass(frozen=True)
class Counts:
    """What became of the tasks of one scenario.

    Attributes:
        submitted: tasks that somebody tried to submit.
        accepted: those of them that were answered so.
        once: tasks of which one body began, and reached its end.
        twice: tasks of which more than one body began.
        lost: tasks that were accepted and of which no body reached its end.
        deleted: tasks that were in a queue when somebody deleted it by hand; not among the lost.
        error_ran: tasks that ran although their submission was answered with an error.
        refused_ran: those of them of which the error said that nothing was accepted.
        misnamed: submissions that were answered with another error than those of ``REFUSALS``.
        stray: tasks that ran and that nobody has submitted.
        faults: how many faults there were.
        hits: faults that hit work in flight: a body that ran, or, unless a worker was hit, a submission under way.
        in_flight: bodies and submissions in flight at the faults, each counted at each of them.
        unexplained: tasks that ran twice and were not in flight at any fault that may double.
        races: submissions that were under way while the reaper tried to remove their tenant's queue.
        removals: queues that the reaper removed.
        slowest_answer: seconds that the slowest answer to a submission took.
        slowest_return: seconds from the return of what was broken until the throughput was back, at worst; infinite
            if it was not within 10 s; None where no fault left so much time before the next.
    """

    submitted: int
    accepted: int
    once: int
    twice: int
    lost: int
    deleted: int
    error_ran: int
    refused_ran: int
    misnamed: int
    stray: int
    faults: int
    hits: int
    in_flight: int
    unexplained: int
    races: int
    removals: int
    slowest_answer: float
    slowest_return: float | None


@dataclass(frozen=True)
class Check:
    """One bar."""

    what: str
    figure: float
    limit: float
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether it is."""
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit


def count(story: Story) -> Counts:
    """Count what a story that is over comes to."""
    submissions = story.submissions
    ran = story.ran
    twice = {label for label, runs in story.executions.items() if len(runs) > 1}
    raced = met_removals(story)
    flights = [_in_flight(story, fault) for fault in story.faults]
    excused = {
        label
        for fault, labels in zip(story.faults, flights, strict=True)
        if fault.doubles
        for label in labels | _moving(story, fault)
    } | _forgotten(story, raced)
    deleted = _deleted(story)
    errors = [each for each in submissions.values() if each.outcome == "error"]
    return Counts(
        submitted=len(submissions),
        accepted=sum(each.outcome == "accepted" for each in submissions.values()),
        once=len(ran - twice),
        twice=len(twice),
        lost=len(story.unaccounted - deleted),
        deleted=len(deleted),
        error_ran=sum(each.label in ran for each in errors),
        refused_ran=sum(each.label in ran and each.error == NOTHING_ACCEPTED for each in errors),
        misnamed=sum(each.error not in REFUSALS for each in errors),
        stray=len(story.executions.keys() - submissions.keys()),
        faults=len(story.faults),
        hits=sum(bool(labels) for labels in flights),
        in_flight=sum(map(len, flights)),
        unexplained=len(twice - excused),
        races=len(raced),
        removals=len(story.removals),
        slowest_answer=max((each.answered - each.tried for each in _answered(submissions)), default=0.0),
        slowest_return=_slowest_return(story),
    )


def checks(counts: Counts, *, hits: int, races: int, slopes: Mapping[str, float]) -> list[Check]:
    """Hold counts, and the growth of processes, against the bars.

    Args:
        counts: the counts.
        hits: faults at least that hit work in flight.
        races: submissions at least that raced a removal.
        slopes: MB a minute by which processes grew.
    """
    found = [
        Check("lost", counts.lost, 0),
        Check("run twice, of those in flight at the faults", counts.twice, counts.in_flight),
        Check("run twice without having been in flight", counts.unexplained, 0),
        Check("run although the error said that nothing was accepted", counts.refused_ran, 0),
        Check("errors other than those that tell to try again", counts.misnamed, 0),
        Check("run without having been submitted", counts.stray, 0),
        Check("faults that hit work in flight", counts.hits, hits, at_least=True),
        Check("submissions while their tenant's queue was being removed", counts.races, races, at_least=True),
        Check("seconds until the slowest answer", counts.slowest_answer, ANSWER_WITHIN),
        *(Check(f"MB a minute that {name} grew", slope, GROWTH) for name, slope in slopes.items()),
    ]
    if counts.slowest_return is not None:
        found.append(Check("seconds until the throughput was back", counts.slowest_return, BACK_WITHIN))
    return found


def met_removals(story: Story) -> set[str]:
    """Return the labels of the tasks that were submitted while the reaper tried to remove their tenant's queue."""
    attempts = defaultdict(list)
    for attempt in sorted(story.attempts, key=lambda each: each.ended):
        attempts[attempt.tenant].append(attempt)
    ends = {tenant: [each.ended for each in some] for tenant, some in attempts.items()}

    def met(submission: Submission) -> bool:
        """Tell whether it met one: a tenant's come one after another."""
        some = attempts.get(submission.tenant, [])
        first = bisect_left(ends.get(submission.tenant, []), submission.tried)
        return first < len(some) and some[first].began <= submission.answered

    return {label for label, submission in story.submissions.items() if met(submission)}


def rate(ends: Sequence[float], since: float, until: float) -> float:
    """Return how many of the times lie between two moments, for each second."""
    return (bisect_right(ends, until) - bisect_left(ends, since)) / (until - since)


def back_after(ends: Sequence[float], returned: float, until: float, usual: float) -> float | None:
    """Return how long after the service's return the throughput was what it was before, for a second at least.

    Args:
        ends: when bodies ended, in order.
        returned: when the service was back.
        until: when the next fault began, or the load ended, or now.
        usual: the throughput before the first fault.

    Returns:
        Seconds until that second began; infinity if it was not over in time; None if there was not enough time to
        tell.
    """
    deadline = returned + BACK_WITHIN
    for since in (returned, *ends[bisect_left(ends, returned) :]):
        if since + _WINDOW > min(deadline, until):
            break
        if rate(ends, since, since + _WINDOW) >= BACK_TO * usual:
            return since - returned
    return inf if until >= deadline else None


def _slowest_return(story: Story) -> float | None:
    if story.calm is None or not story.faults:
        return None
    ends = story.ends
    usual = rate(ends, *story.calm)
    last = max((each.tried for each in story.submissions.values()), default=0.0)
    moments = [*(fault.began for fault in story.faults[1:]), last]
    found = [
        back_after(ends, fault.ended, until, usual)
        for fault, until in zip(story.faults, moments, strict=True)
    ]
    return max((seconds for seconds in found if seconds is not None), default=None)


def _in_flight(story: Story, fault: Fault) -> set[str]:
    """Return the labels of what was in flight at a fault."""
    began, ended = fault.began - fault.before, fault.ended + fault.after
    running = {
        label
        for label, runs in story.executions.items()
        if any(
            run.started <= ended and run.ended >= began and fault.worker in {None, run.worker} for run in runs
        )
    }
    if fault.worker is not None:
        return running
    under_way = {
        each.label
        for each in story.submissions.values()
        if each.tried <= ended and each.answered >= began and each.error != NOTHING_ACCEPTED
    }
    return running | under_way


def _forgotten(story: Story, raced: set[str]) -> set[str]:
    """Return the labels of the tasks whose message a killed broker may have had still, when Redis knew of no end.

    The broker writes acknowledgements down when a queue has a rest, however long that takes. And what had left a
    delay queue, or the queue of lost tasks, may leave it once more, though it had not run before the kill.
    """
    kills = [fault.began for fault in story.faults if fault.unwrites]
    return {
        label
        for label, runs in story.executions.items()
        for first, again in pairwise(runs)
        if any(min(first.ended, _left(story, label, raced)) <= kill <= again.started for kill in kills)
        and any(_has_no_end(first, again, fault) for fault in story.faults)
    }


def _left(story: Story, label: str, raced: set[str]) -> float:
    """Return when a task left another queue for its tenant's, at the earliest; never, if it was in no other."""
    submission = story.submissions.get(label)
    if submission is None or not (submission.delay or label in raced):
        return inf
    return submission.tried + submission.delay


def _has_no_end(first: Execution, again: Execution, fault: Fault) -> bool:
    """Tell whether a task's end may not have been known when it ran again, because of this fault of Redis."""
    match fault.redis:
        case "empty":
            return first.ended <= fault.ended + fault.after and again.started >= fault.began
        case "away":  # it was not asked, or had not written the end down when it was killed
            is_silent = fault.began <= again.started <= fault.ended + _NOT_ASKED
            return is_silent or fault.began - _UNSYNCED <= first.ended <= fault.began
        case _:
            return False


def _moving(story: Story, fault: Fault) -> set[str]:
    """Return the labels of the delayed tasks that moved on the ladder at a fault, unless it hit just one worker."""
    if fault.worker is not None:
        return set()
    began, ended = fault.began - fault.before, fault.ended + fault.after
    return {
        each.label
        for each in story.submissions.values()
        if any(first <= ended and last >= began for first, last in _moves(each))
    }


def _moves(submission: Submission) -> Iterator[tuple[float, float]]:
    """Give when a delayed task moves from one queue of the ladder to the next, at the earliest and at the latest.

    RabbitMQ keeps it in the one until it has it in the other, so a broker that dies between the two may have both.
    """
    if not submission.delay or submission.outcome != "accepted":
        return
    for waited in _climb(submission.delay):
        yield submission.tried + waited, submission.answered + waited


@cache
def _climb(delay: float) -> tuple[float, ...]:
    """Return after how many seconds a task with this delay leaves each of its levels, the highest first."""
    _, levels = plan(delay)
    return tuple(
        accumulate(2**level * STEP for level, waits in reversed([*enumerate(levels.values())]) if waits)
    )


def _answered(submissions: dict[str, Submission]) -> Iterable[Submission]:
    return (each for each in submissions.values() if each.outcome != "unanswered")


def _deleted(story: Story) -> set[str]:
    """Return what went with a queue that was deleted by hand: in it, or on its way into it, and never run."""
    deletions = defaultdict(list)
    for fault in story.faults:
        if fault.tenant is not None:
            deletions[fault.tenant].append(fault)
    lost = (story.submissions[label] for label in story.unaccounted)
    return {
        each.label
        for each in lost
        if any(
            each.tried <= fault.ended and not _started_before(story.executions.get(each.label, ()), fault)
            for fault in deletions[each.tenant]
        )
    }


def _started_before(runs: Iterable[Execution], fault: Fault) -> bool:
    return any(run.started < fault.began for run in runs)
