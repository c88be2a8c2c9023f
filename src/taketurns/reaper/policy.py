"""Which tenant queues are to be removed, and why the others stay. Pure: no I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from taketurns.tenants import tenant_of
from taketurns.topology import tenant_queue_type

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from taketurns.management import QueueInfo
    from taketurns.settings import QueueType

DECLARED_OTHERWISE = "declared otherwise than ours: left alone"
"""Why a queue of our name with other arguments stays, whatever is or isn't in it."""


@dataclass(frozen=True)
class Snapshot:
    """All that a decision depends on, as it was at one time.

    Attributes:
        queues: the tenant queues of the live listing, by name.
        activity: each tenant's last activity, as Unix time; in the future while a delayed task of it waits.
        now: the Unix time by the same clock.
        idle_time: seconds without activity after which a queue may go.
        draining: tenants that are being drained by somebody else.
    """

    queues: Mapping[str, QueueInfo]
    activity: Mapping[str, float]
    now: float
    idle_time: float
    draining: AbstractSet[str] = field(default_factory=frozenset)

    def emptied(self) -> Snapshot:
        """Return the same with nothing in the queues."""
        empty = {name: replace(queue, ready=0, unacknowledged=0) for name, queue in self.queues.items()}
        return replace(self, queues=empty)


@dataclass(frozen=True)
class Decision:
    """What becomes of one tenant queue.

    Attributes:
        tenant: whose queue it is.
        queue: the queue's name.
        remove: whether it goes.
        reason: why it goes or stays, in words.
        queue_type: which of our types it is; None: it was declared otherwise, or that is not known.
    """

    tenant: str
    queue: str
    remove: bool
    reason: str
    queue_type: QueueType | None = None

    def kept(self, reason: str) -> Decision:
        """Return the decision that this queue stays after all."""
        return replace(self, remove=False, reason=reason)


def decide(snapshot: Snapshot) -> list[Decision]:
    """Decide for each queue of the snapshot, in the order of their names."""
    decisions = []
    for name, queue in sorted(snapshot.queues.items()):
        tenant = tenant_of(name)
        if tenant is None:
            continue
        keep = _reason_to_keep(tenant, queue, snapshot)
        reason = keep or f"idle for {_seconds(snapshot.now - snapshot.activity[tenant])}"
        decisions.append(Decision(tenant, name, keep is None, reason, _type_of(queue)))
    return decisions


def unrecorded(snapshot: Snapshot) -> list[str]:
    """Return the tenants that have a queue of ours but no activity record.

    Redis was flushed, or the queue was made by hand: their idle time begins when they are first seen.
    """
    tenants = (tenant_of(name) for name, queue in sorted(snapshot.queues.items()) if is_ours(queue))
    return [tenant for tenant in tenants if tenant is not None and tenant not in snapshot.activity]


def outlived(snapshot: Snapshot) -> list[str]:
    """Return the tenants whose activity record is idle and whose queue is not there (any more)."""
    with_queue = {tenant_of(name) for name in snapshot.queues}
    oldest = snapshot.now - snapshot.idle_time
    return sorted(
        tenant for tenant, last in snapshot.activity.items() if tenant not in with_queue and last <= oldest
    )


def is_ours(queue: QueueInfo) -> bool:
    """Tell whether a tenant queue is declared as taketurns declares those of one of its types."""
    return _type_of(queue) is not None


def _type_of(queue: QueueInfo) -> QueueType | None:
    return tenant_queue_type(durable=queue.durable, arguments=queue.arguments)


def _reason_to_keep(tenant: str, queue: QueueInfo, snapshot: Snapshot) -> str | None:
    if not is_ours(queue):
        return DECLARED_OTHERWISE
    if tenant in snapshot.draining:
        return "draining by another instance"
    return _contents(queue) or _recent_activity(tenant, snapshot)


def _contents(queue: QueueInfo) -> str | None:
    if queue.ready is None or queue.unacknowledged is None:
        return "unknown to the live listing: its messages could not be counted"
    if queue.ready:
        return _messages(queue.ready)
    if queue.unacknowledged:
        return f"{_messages(queue.unacknowledged)} unacknowledged"
    return None


def _recent_activity(tenant: str, snapshot: Snapshot) -> str | None:
    last = snapshot.activity.get(tenant)
    if last is None:
        return "no activity record: its idle time begins now"
    idle = snapshot.now - last
    if idle < 0:
        return f"delayed task due in {_seconds(-idle)}"
    if idle < snapshot.idle_time:
        return f"active {_seconds(idle)} ago"
    return None


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s"
