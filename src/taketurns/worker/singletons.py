"""Locks at the gate: of tasks of which one runs at a time, so that one that waits takes no slot."""

from __future__ import annotations

from dataclasses import asdict
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal

from taketurns.errors import RegistryUnavailable
from taketurns.locks.singleton import WAITING_HEADER, lock_of, when_busy
from taketurns.task import TenantTask

if TYPE_CHECKING:
    from taketurns.extension import TakeTurns
    from taketurns.locks.locks import LockName, Ticket
    from taketurns.locks.singleton import WhenBusy
    from taketurns.worker.background import Background
    from taketurns.worker.messages import TenantMessage

AGAIN: Final = 0.05
"""Seconds after which a task asks again that waits at the head of its queue."""

_PATIENCE: Final = 1.0
"""Seconds of a hold for which the next task waits at the head: most are over by then, and it need not be put off."""

_REMEMBERED: Final = 10_000


class Singletons:
    """The locks of messages that have passed the gate. Their tasks go on with them, and renew them.

    Args:
        turns: the installed extension.
        background: gives locks up without keeping the loop waiting.
    """

    def __init__(self, turns: TakeTurns, background: Background) -> None:
        self._locks = turns.locks
        self._background = background
        self._held: dict[TenantMessage, tuple[LockName, Ticket]] = {}
        self._seen: dict[LockName, tuple[str, float]] = {}
        """The hold that was last in the way, and since when."""

    def enter(self, message: TenantMessage, task: Any) -> WhenBusy | Literal["soon"] | None:
        """Take the lock that the message's task needs, if it needs one; else tell what is to become of it.

        ``soon``: the one that runs may be over soon. While Redis is away nobody can tell what runs: then it waits.
        """
        if not (isinstance(task, TenantTask) and task.singleton):
            return None
        args, kwargs, *_ = message.payload
        lock = lock_of(task, message.owner, args, kwargs)
        try:
            ticket = self._locks.take(lock, message.headers["id"])
        except RegistryUnavailable:
            return "wait"
        if ticket is None:
            busy = when_busy(task, self._locks, lock, message.headers["id"])
            return "soon" if busy == "wait" and self._is_young(lock) else busy
        message.headers.pop(WAITING_HEADER, None)
        self._held[message] = (lock, ticket)
        return None

    def ticket(self, message: TenantMessage) -> dict[str, Any] | None:
        """Return what the message's task needs to go on with its lock; None: it needs none."""
        _, ticket = self._held.get(message, (None, None))
        return None if ticket is None else asdict(ticket)

    def leave(self, message: TenantMessage) -> None:
        """Give the lock up of a message that is not started now."""
        if (held := self._held.pop(message, None)) is not None:
            self._locks.give_up(*held)

    def settled(self, message: TenantMessage) -> bool:
        """Give the lock up of a message whose task has ended, should that have been killed before it could itself.

        Returns:
            Whether the tenant may run another task for it.
        """
        held = self._held.pop(message, None)
        if held is not None:
            self._background.submit(lambda: self._locks.give_up(*held))
        return held is not None

    def _is_young(self, lock: LockName) -> bool:
        """Tell whether whoever has the lock has been in the way for a short time only."""
        try:
            token = self._locks.token(lock)
        except RegistryUnavailable:
            return False
        if token is None:
            return True
        now = monotonic()
        seen, since = self._seen.get(lock, ("", now))
        if token != seen:
            if len(self._seen) >= _REMEMBERED:
                self._seen.clear()
            self._seen[lock] = (token, now)
            return True
        return now - since < _PATIENCE
