"""What the scheduler knows of one tenant's queue and of each message it has taken."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic

from taketurns.worker.commands import M

if TYPE_CHECKING:
    from taketurns.worker.commands import Park


@dataclass(slots=True, eq=False)
class Tenant(Generic[M]):
    """A queue that is served; see ``turns``."""

    queue: str
    virtual: float = 0.0
    weight: float = 1.0
    cost: float = 0.0
    """The estimated seconds of its next task."""
    rank: int = 0
    """How many other workers come before this one with a task of this tenant that is as good as due."""
    lag: float = 0.0
    """How much later than due its task is next here, in virtual time, so that those start it: see ``Accounts``."""
    backlog: int | None = None
    """Messages left in the queue as last heard; None is unknown."""
    seconds: dict[str, float] = field(default_factory=dict)
    """What its tasks take, by kind; see ``Estimates``."""
    open: bool = False
    """None of its tasks has ended, and what others' tasks of this kind take differs widely."""
    latest: str = ""
    """The kind of its latest task."""
    listening: bool = False
    spent: M | None = None
    """The unsettled message that took the credit of the subscription."""
    fetching: int = 0
    hand: deque[M] = field(default_factory=deque)
    running: int = 0
    fresh: bool = False
    """It was idle and owes nothing: its message is next, ahead of all that are held already."""
    not_before: float = 0.0
    """When its next message may start; the message is held until then."""
    one_by_one: bool = False
    """At most one message in the hand: the next one may be throttled."""
    parked: dict[Park, float] = field(default_factory=dict)
    ticket: int = 0
    """The serial of its valid entry among the waiting; 0 is none."""
    owned: bool = True
    """Listened to while it is empty; else it is only helped with, until it is empty."""
    removed: bool = False


@dataclass(slots=True, eq=False)
class Taken(Generic[M]):
    """A message that this worker has not settled yet."""

    tenant: Tenant[M]
    kind: str
    estimate: float = 0.0
    """The seconds that it was expected to take when it started."""
    started_at: float | None = None


def place(tenant: Tenant[M]) -> tuple[bool, float]:
    """Return the sort key of whose turn is next: who will have had the least when its next task has ended.

    By where the next task ends, not by where it starts, or a tenant of short tasks would wait for everybody's long
    ones as soon as it has had one itself.

    A tenant whose first task runs comes last as long as it is open what its tasks take: were they long, several
    would have started by then at the price of short ones.
    """
    return tenant.running > 0 and tenant.open, tenant.virtual + tenant.cost / tenant.weight + tenant.lag


def order(tenant: Tenant[M]) -> tuple[bool, bool, float]:
    """Return the sort key of whose message starts next: of who was idle, then by whose turn it is."""
    return (not tenant.fresh, *place(tenant))
