"""What becomes of a task by how its parents stand. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from taketurns.dependencies.waiting import Blocked
from taketurns.errors import InvalidInput
from taketurns.records.lifecycle import FINAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.records.lifecycle import Stored

_HAS: Final[Mapping[str, str]] = {
    "FAILURE": "has failed",
    "CANCELLED": "was cancelled",
    "EXPIRED": "has expired",
    "DEAD": "could not be run",
    "IGNORED": "was ignored",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a task; with neither it may run.

    Attributes:
        because: why it has failed, in words; empty: it has not.
        waits_for: the parent that it waits for next; None: for none.
        left: the parents that are not known to have succeeded.
    """

    because: str = ""
    waits_for: str | None = None
    left: tuple[str, ...] = ()


def judge(standings: Mapping[str, Stored | None], *, at: str | None = None) -> Judgement:
    """Judge a task by the states of its parents.

    Args:
        standings: their states; None for one that nobody remembers. It may start again and be known then, so it is
            waited for, but after those that are known.
        at: the one that it waits for now; it goes on to do so while that one is known and has not ended.
    """
    for parent, state in standings.items():
        if state in FINAL and state != "SUCCESS":
            return Judgement(because=f"it depends on task {parent}, which {_HAS[state]}")
    left = tuple(parent for parent, state in standings.items() if state != "SUCCESS")
    known = (parent for parent in sorted(left, key=lambda each: each != at) if standings[parent] is not None)
    return Judgement(waits_for=next(known, left[0] if left else None), left=left)


def waits_for(task_id: str, standings: Mapping[str, Stored | None]) -> Blocked | None:
    """Return what a submission has to wait for, by the states of its parents; None: all have succeeded.

    Raises:
        InvalidInput: a parent is the task itself, or one that nobody remembers.
    """
    if task_id in standings:
        raise InvalidInput(task_id, "another task than itself", field="depends_on")
    for parent, state in standings.items():
        if state is None:
            accepted = "the id of a task of the same tenant that is remembered (see TAKETURNS_RECORDS_*)"
            raise InvalidInput(parent, accepted, field="depends_on")
    left = tuple(parent for parent, state in standings.items() if state != "SUCCESS")
    if not left:
        return None
    return Blocked(left, next((parent for parent in left if standings[parent] in FINAL), left[0]))
