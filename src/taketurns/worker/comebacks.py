"""Messages that were delivered before: what has become of their tasks, and how often they were started."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

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

_HOLDS: Final = 0.1
"""Seconds for which it is believed that nobody has started a task: another worker may, and lose its connection.

Who waits for longer can wait for Redis too.
"""


class _Unstarted(NamedTuple):
    since: float
    first: bool
    """Whether no worker had it before, so that its start need not be counted."""


class Comebacks:
    """Tells what a message that comes back has behind it.

    RabbitMQ writes acknowledgements of a classic queue down when the queue has a moment's rest, or much later. If it
    is killed before, all these messages come back, though their tasks have run. Those that a delay queue had just let
    go come once more as well, as copies.

    Most messages that come back have nothing behind them, though: a worker gave them back that had no slot for them.
    Two answers of Redis are a quarter of a newcomer's wait for its slot, so what they would say is found out before.

    Args:
        turns: the installed extension, for the records and the count of starts.
        background: runs what would block the loop.
    """

    def __init__(self, turns: TakeTurns, background: Background) -> None:
        self._turns = turns
        self._background = background
        self._starts: Counter[str] = Counter()
        self._unstarted: dict[str, _Unstarted] = {}
        self._asked: dict[str, float] = {}
        """When it was asked what has become of tasks that have not started here since; no answer has come."""

    def goes_back(self, message: TenantMessage) -> None:
        """Note that a message goes back that was not started here, and find out whether it was anywhere."""
        headers = message.headers or {}
        task_id = headers.get("id")
        if not isinstance(task_id, str):
            return
        known = self._known_unstarted(task_id)
        if known is not None or not (message.redelivered or left_late(headers)):
            self._remember(task_id, known or _Unstarted(monotonic(), first=True))
            return
        asked = self._asked[task_id] = monotonic()

        def learn(is_unstarted: bool) -> None:  # noqa: FBT001  # of a job's result
            if self._asked.get(task_id) == asked:
                del self._asked[task_id]
                if is_unstarted:
                    self._remember(task_id, _Unstarted(asked, first=False))

        self._background.submit(
            lambda: self._is_unstarted(message), learn, lambda _: learn(is_unstarted=False)
        )

    def forget_lost(self) -> None:
        """Believe of no task any more that nobody has started it: a connection was lost, perhaps others' too."""
        self._unstarted.clear()
        self._asked.clear()

    def gone_on(self, message: TenantMessage) -> Stored | None:
        """Return the state of a task, by its record, if it has ended or was sent again: then this message is over.

        None if it is to run: also if Redis can't tell, or if somebody moved the message here by hand to have it run.
        """
        headers = message.headers
        if not (message.redelivered or left_late(headers)) or self._known_unstarted(headers["id"]):
            return None
        try:
            return self._reached(message)
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
        unstarted = self._known_unstarted(task_id)
        self._unstarted.pop(task_id, None)
        self._asked.pop(task_id, None)
        if unstarted is not None and unstarted.first:
            return 0
        if len(self._starts) >= _REMEMBERED:
            self._starts.clear()
        self._starts[task_id] += 1
        if unstarted is not None:
            self._background.submit(lambda: self._turns.registry.starts.count(task_id), failed=lambda _: None)
            return self._starts[task_id]
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

    def _known_unstarted(self, task_id: str) -> _Unstarted | None:
        known = self._unstarted.get(task_id)
        if known is not None and monotonic() - known.since > _HOLDS:
            del self._unstarted[task_id]
            return None
        return known

    def _remember(self, task_id: str, known: _Unstarted) -> None:
        if len(self._unstarted) >= _REMEMBERED:
            self._unstarted.clear()
        self._unstarted[task_id] = known

    def _is_unstarted(self, message: TenantMessage) -> bool:
        return self._reached(message) is None and not self._turns.registry.starts.of(message.headers["id"])

    def _reached(self, message: TenantMessage) -> Stored | None:
        """Return the state of a task of which this message is over, by its record; see [gone_on][]."""
        headers = message.headers
        attempt = None if is_letter(headers) else attempt_in(headers)
        return None if attempt is None else self._turns.records.gone_on(message.owner, headers["id"], attempt)
