"""Messages that were delivered before: what has become of their tasks, and how often they were started."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from taketurns.deadletters.letter import is_letter
from taketurns.delays import left_late
from taketurns.errors import RegistryUnavailable
from taketurns.records.recorder import attempt_in

if TYPE_CHECKING:
    from taketurns.extension import TakeTurns
    from taketurns.records.lifecycle import Stored
    from taketurns.worker.background import Background
    from taketurns.worker.messages import TenantMessage

_REMEMBERED: Final = 10_000
"""Tasks whose starts on this worker are remembered at most; then that begins anew."""


class Comebacks:
    """Tells what a message that comes back has behind it.

    RabbitMQ writes acknowledgements of a classic queue down when the queue has a moment's rest, or much later. If it
    is killed before, all these messages come back, though their tasks have run. Those that a delay queue had just let
    go come once more as well, as copies.

    Args:
        turns: the installed extension, for the records and the count of starts.
        background: runs what would block the loop.
    """

    def __init__(self, turns: TakeTurns, background: Background) -> None:
        self._turns = turns
        self._background = background
        self._starts: Counter[str] = Counter()

    def gone_on(self, message: TenantMessage) -> Stored | None:
        """Return the state of a task, by its record, if it has ended or was sent again: then this message is over.

        None if it is to run: also if Redis can't tell, or if somebody moved the message here by hand to have it run.
        """
        headers = message.headers
        if not (message.redelivered or left_late(headers)) or is_letter(headers):
            return None
        attempt = attempt_in(headers)
        if attempt is None:
            return None
        try:
            return self._turns.records.gone_on(message.owner, headers["id"], attempt)
        except RegistryUnavailable:
            return None

    def count_start(self, message: TenantMessage) -> int:
        """Count one more start, and return how many there were; 0 for a first delivery.

        While Redis can't tell, it is those of this worker: a task that ends its process would otherwise do so for as
        long as Redis is away.
        """
        if not message.redelivered:
            return 0
        task_id = message.headers["id"]
        if len(self._starts) >= _REMEMBERED:
            self._starts.clear()
        self._starts[task_id] += 1
        try:
            return self._turns.registry.starts.count(task_id)
        except RegistryUnavailable:
            return self._starts[task_id]

    def forget_starts(self, message: TenantMessage) -> None:
        """Count no more: the task has come to its end, or to its next attempt."""
        if message.redelivered:
            self._starts.pop(message.headers["id"], None)
            self._background.submit(
                lambda: self._turns.registry.starts.forget(message.headers["id"]),
                failed=lambda _: None,  # the store has said that Redis is away
            )
