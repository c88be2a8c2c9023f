"""Limits at the gate: whether a message may start now, and when the next one of its tenant is to be fetched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from taketurns.limits.book import LimitBook
from taketurns.limits.rate import parse_rate
from taketurns.task import TenantTask
from taketurns.tenants import tenant_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from taketurns.extension import TakeTurns
    from taketurns.limits.limiter import Limits
    from taketurns.registry import TenantSettings
    from taketurns.worker.messages import TenantMessage

_LEAD = 0.02  # seconds ahead of its time at which a throttled tenant's message is fetched
_CLAIM_TTL = 2.0  # seconds after which a fetch for a token counts as given up
_ANY_NUMBER = 1_000_000  # of running tasks: their leases are kept, but don't stop anything
_FIRST_LOOK, _LAST_LOOK = (
    1.0,
    30.0,
)  # seconds between two looks for a message that another's limit does not hold


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a message at the gate; times in seconds from now.

    Attributes:
        admitted: it has taken its slot, or needs none; else it must go back.
        retry_after: when not admitted, seconds until it may be.
        hold: when not admitted, whether it is so soon that the message need not go back.
        next_after: when admitted, seconds until the tenant's next message may be.
    """

    admitted: bool
    retry_after: float = 0.0
    hold: bool = False
    next_after: float = 0.0


PASSED = Verdict(admitted=True)


class Throttle:
    """Asks the limiter, and remembers what it said of each queue.

    A limit of one kind of task, or of one priority, holds for the message at the head of the queue, not for the
    queue. So beside the moments at which a token comes the queue is looked at now and then, lest a message of a
    higher priority, or another kind behind the last one of this, wait for a limit that is not its own.

    Args:
        turns: the installed extension.
        owner: this worker's name, under which it claims tokens.
    """

    def __init__(self, turns: TakeTurns, owner: str) -> None:
        self._limiter = turns.limiter
        self._owner = owner
        default = turns.settings.limiter.default_rate_limit
        self._default_rate = parse_rate(default) if default else None
        self._book = LimitBook({}, self._default_rate)
        self._latest: dict[str, tuple[str, Limits]] = {}
        self._aims: dict[str, float] = {}
        """When the next message of a throttled queue should start, by the monotonic clock."""
        self._looks: dict[str, float] = {}
        """When to look at a queue whose head is throttled by a limit of its own kind."""
        self._pauses: dict[str, float] = {}
        """Seconds until the look after that: each one in vain doubles them."""
        self._leases: dict[TenantMessage, tuple[str, str]] = {}

    def use(self, settings: Mapping[str, TenantSettings]) -> None:
        """Take over the tenants' settings; those whose settings have changed are to be forgotten."""
        self._book = LimitBook(settings, self._default_rate)

    def forget(self, queue: str) -> None:
        """Forget what is known of a queue that is gone, that nothing limits, or that has other limits now."""
        for memory in (self._latest, self._aims, self._looks, self._pauses):
            memory.pop(queue, None)

    def may_fetch(self, queue: str, others_wait: Callable[[str], bool]) -> float:
        """Return 0 if the queue's next message may be fetched, else after how many seconds to ask again.

        While a tenant is throttled, one worker alone is told to fetch for each of its tokens. Of a message that was
        never seen only the tenant's own limits are known, not those of its task.

        Args:
            queue: the tenant's queue.
            others_wait: tells whether any other tenant waits for this worker.
        """
        known = self._known(queue)
        if known is None:
            return 0.0
        now = monotonic()
        if self._looks.get(queue, now + 1) <= now:
            del self._looks[queue]
            return 0.0
        task, limits = known
        limits = _in_force(limits, queue, others_wait)
        wait = self._limiter.claim(
            tenant_by(queue), task, limits, owner=self._owner, lead=_LEAD, ttl=_CLAIM_TTL
        )
        if not wait:
            return 0.0
        wait = self._aim(queue, wait + _LEAD, limits)
        return min(wait, self._looks[queue] - now) if queue in self._looks else wait

    def head_limited_until(self, queue: str) -> float:
        """Return when the message at the head may start, by the monotonic clock; 0 if no look comes before."""
        return self._aims.get(queue, 0.0) if queue in self._looks else 0.0

    def is_limited(self, queue: str) -> bool:
        """Tell whether a limit is known that holds for the queue's next message."""
        return self._known(queue) is not None

    def fetched_nothing(self, queue: str) -> None:
        """The queue was empty: let others have its token."""
        if self._known(queue) is not None:
            self._limiter.unclaim(tenant_by(queue), self._owner)

    def admit(self, message: TenantMessage, task: Any, others_wait: Callable[[str], bool]) -> Verdict:
        """Decide whether the message may start now, and take its tokens if so.

        Args:
            message: the message.
            task: its task.
            others_wait: tells whether any other tenant waits for this worker.
        """
        queue = message.queue
        rate = task.task_rate if isinstance(task, TenantTask) else None
        limits = self._book.limits(tenant_by(queue), task.name, rate, message.properties.get("priority"))
        if not limits:
            self.forget(queue)
            return PASSED
        early = self._aims.get(queue, 0.0) - monotonic()
        if 0 < early <= 2 * _LEAD:
            return Verdict(admitted=False, retry_after=early, hold=True)
        self._latest[queue] = (task.name, limits)
        lease = message.headers["id"]
        in_force = _in_force(limits, queue, others_wait)
        admission = self._limiter.admit(tenant_by(queue), task.name, in_force, lease=lease, owner=self._owner)
        wait = admission.next_after if admission.admitted else admission.retry_after
        if admission.admitted:
            if limits.max_concurrency is not None:
                self._leases[message] = (tenant_by(queue), lease)
            self._pauses.pop(queue, None)
            if not wait:
                self._aims.pop(queue, None)
                self._looks.pop(queue, None)
                return PASSED
        seconds = self._aim(queue, wait, limits)
        if admission.reason in {"task_rate", "priority_rate"}:
            look = self._pauses.get(queue, _FIRST_LOOK)
            self._pauses[queue] = min(_LAST_LOOK, 2 * look)
            self._looks[queue] = monotonic() + look
            seconds = min(seconds, look)
        else:
            self._looks.pop(queue, None)
        if admission.admitted:
            return Verdict(admitted=True, next_after=seconds)
        return Verdict(admitted=False, retry_after=seconds)

    def count(self, queue: str, running: Iterable[TenantMessage]) -> None:
        """Count what runs of a tenant whose ``max_concurrency`` may be new: it took no lease when it started."""
        tenant = tenant_by(queue)
        if not self._book.has_maximum(tenant):
            return
        leases = {
            message: (tenant, message.headers["id"]) for message in running if message not in self._leases
        }
        if leases:
            self._leases.update(leases)
            self._limiter.hold(tenant, [lease for _, lease in leases.values()])

    def settled(self, message: TenantMessage) -> bool:
        """Release what the message's admission took; True if the tenant may run another task for it."""
        lease = self._leases.pop(message, None)
        if lease is None:
            return False
        self._limiter.release(*lease)
        return True

    def leases(self) -> dict[str, list[str]]:
        """Return the concurrency leases of running tasks by tenant, to be renewed."""
        held: dict[str, list[str]] = {}
        for tenant, lease in self._leases.values():
            held.setdefault(tenant, []).append(lease)
        return held

    def _known(self, queue: str) -> tuple[str, Limits] | None:
        """Return the task and limits by which to ask for the queue's next message, or None if nothing limits it."""
        if queue in self._latest:
            return self._latest[queue]
        limits = replace(self._book.limits(tenant_by(queue), ""), priority_rate=None, priority="")
        return ("", limits) if limits else None

    def _aim(self, queue: str, earliest: float, limits: Limits) -> float:
        """Choose when the queue's next message should start; return in how many seconds to fetch it.

        The limiter admits a start a twentieth of the interval early, so that one which came late does not move all
        that follow. To aim there would use that up: the aim is the even spacing.
        """
        rates = [rate.interval for _, rate in limits.rates()]
        seconds = earliest + (0.05 * min(rates) if rates else 0.0)
        self._aims[queue] = monotonic() + seconds
        return max(seconds - _LEAD, 0.001)


def _in_force(limits: Limits, queue: str, others_wait: Callable[[str], bool]) -> Limits:
    """Leave out the concurrency of a tenant that may exceed it while nobody else waits."""
    if limits.burst_when_idle and limits.max_concurrency is not None and not others_wait(queue):
        return replace(limits, max_concurrency=max(_ANY_NUMBER, limits.max_concurrency))
    return limits
