"""Tasks of which one runs at a time: by what lock, and when one that must wait asks again."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, Literal

from taketurns.errors import RegistryUnavailable
from taketurns.locks.locks import LockName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.locks.locks import Locks
    from taketurns.task import TenantTask

Singleton = bool | Literal["args"]
"""``True``: one task of this name runs at a time for each tenant; ``"args"``: one with the same arguments."""

WhenBusy = Literal["wait", "drop"]
"""What becomes of a second one: it waits for the first one's end, or does not run at all."""

WAITING_HEADER: Final = "taketurns_waiting_since"
"""When the task was first put off since another one ran, as Unix time."""

DROPPED: Final = "dropped"
"""What a task's record names as its error if it did not run since another one ran."""

SOONEST: Final = 0.25
"""Seconds after which a task that waits asks again at the soonest; and seconds between two that wait for one lock."""

_LATEST: Final = 30.0
_PART: Final = 0.25


def lock_of(task: TenantTask, owner: str, args: Any, kwargs: Any) -> LockName:
    """Return the lock that a singleton task must have to run.

    Args:
        task: the task.
        owner: whose it is.
        args: its positional arguments; ``f(1)`` and ``f(x=1)`` have different locks.
        kwargs: its keyword arguments.
    """
    name = str(task.name)
    if task.singleton == "args":
        said = json.dumps([list(args), kwargs], sort_keys=True, default=repr)
        name += f":{hashlib.sha256(said.encode()).hexdigest()[:32]}"
    return LockName(owner, "singleton", name)


def waited(headers: Mapping[str, Any] | None, now: float) -> tuple[float, float]:
    """Return since when a task waits for another one to end, and in how many seconds it is to ask again.

    That is after a quarter of the time that it has waited, and half a minute at most: so it starts a quarter of its
    wait late at most, and costs few messages meanwhile.

    Args:
        headers: those of its message.
        now: Unix time.
    """
    since = (headers or {}).get(WAITING_HEADER)
    if not isinstance(since, int | float) or not since <= now:
        since = now
    return since, min(_LATEST, max(SOONEST, (now - since) * _PART))


def when_busy(task: TenantTask, locks: Locks, lock: LockName, task_id: str) -> WhenBusy:
    """Return what is to become of a task that did not get its lock.

    One whose worker was killed has it itself, and waits for that to expire. While Redis is away nobody can tell, and
    none is dropped.
    """
    try:
        is_another = task.singleton_when_busy == "drop" and locks.holder(lock) not in (None, task_id)
    except RegistryUnavailable:
        is_another = False
    return "drop" if is_another else "wait"


def why_dropped(task: TenantTask, owner: str) -> str:
    """Say why a task is dropped."""
    same = " with these arguments" if task.singleton == "args" else ""
    return f"another {task.name}{same} of {owner} runs"
