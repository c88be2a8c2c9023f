"""What happens to tasks here, gathered and written to the records in a thread of its own.

A task costs the loop two appends. What Redis costs is shared by all that happened in the meantime: in a twentieth of
a second, or in a fifth while much happens, since the thread takes the interpreter from the loop each time.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from celery.utils.log import get_logger

from taketurns.deadletters.letter import REPLAYS_HEADER, number_of
from taketurns.errors import RegistryRefused, RegistryUnavailable
from taketurns.records.lifecycle import ENDS, Kind, Step, shortened
from taketurns.records.record import written_error
from taketurns.records.recorder import TAGS_HEADER, attempt_in
from taketurns.tenants import owner_by, queue_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from taketurns.deadletters.letter import Death
    from taketurns.records.lifecycle import Stored
    from taketurns.records.records import Records

logger = get_logger(__name__)

_INTERVAL: Final = 0.05
_LONG_INTERVAL: Final = 0.2
_MANY: Final = 50
"""Steps that were written together, from which on the next ones are gathered for longer."""

_MOST: Final = 50_000
"""Steps that are remembered while Redis is away; then the oldest are forgotten."""
_AT_ONCE: Final = 2_000

_NAMED: Final[frozenset[Kind]] = frozenset({"started", "failed", "dead", "cancelled", "expired"})
"""What a record may begin anew with: it names the task."""

_OVER: Final[frozenset[str]] = ENDS | {"retrying"}
"""With these an attempt is over: its message is not needed any more."""


class Journal:
    """Gathers steps of tasks, from any thread, and writes them down until it is closed.

    What was not written when the process is killed is lost: the task, if it had not ended, is started again, and its
    result is where results are.

    Args:
        records: where they are written.
        worker: this worker's name.
        ended: told, in the journal's thread, of the tasks that have come to their end and are written down: by owner
            the state of each.
    """

    def __init__(
        self,
        records: Records,
        worker: str,
        ended: Callable[[Mapping[str, Mapping[str, Stored]]], None] = lambda _: None,
    ) -> None:
        self._records = records
        self._worker = worker
        self._ended = ended
        self._steps: deque[tuple[str, Mapping[str, Any], Kind, float, dict[str, Any]]] = deque(maxlen=_MOST)
        self._any = threading.Event()
        self._awaiting: deque[Callable[[], None]] = deque()
        self._hurry = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="taketurns records", daemon=True)
        self._thread.start()

    def tell(self, tenant: str, headers: Mapping[str, Any], kind: Kind, **data: Any) -> None:
        """Note a step of the task whose message, of the tenant's queue, has these headers, by this moment."""
        self._steps.append((tenant, headers, kind, time.time(), data))
        if not self._any.is_set():
            self._any.set()

    def died(
        self, tenant: str, headers: Mapping[str, Any], death: Death, error: tuple[str, str] = ("", "")
    ) -> None:
        """Note that a task has become a dead letter, because of an error of this type and text if it raised one."""
        kind: Kind = "failed" if death.cause in ("failed", "rejected") else "dead"
        name, message = error if error[0] else (death.cause, shortened(death.reason))
        self.tell(tenant, headers, kind, error=name, message=message)

    def then(self, call: Callable[[], None]) -> None:
        """Call something, in the journal's thread, when all that was told before is written down: in a millisecond.

        If Redis is away it is called all the same.
        """
        self._awaiting.append(call)
        self._hurry.set()
        self._any.set()

    def ended_before(self, owner: str, task_id: str, state: Stored) -> None:
        """Tell again, in the journal's thread, of a task that has ended, and is written down."""
        self.then(lambda: self._ended({owner: {task_id: state}}))

    def close(self, timeout: float = 1.0) -> None:
        """Write down what is left, if Redis takes it within so many seconds."""
        self._closed.set()
        self._any.set()
        self._hurry.set()
        self._thread.join(timeout)

    def _work(self) -> None:
        while not self._closed.is_set():
            self._any.wait()
            self._any.clear()
            self._hurry.clear()
            self._hurry.wait(_LONG_INTERVAL if self._write() > _MANY else _INTERVAL)
        self._write()

    def _write(self) -> int:
        """Write down all that was told, and return how many steps that was."""
        # Whoever asked for one of these calls had told its steps before.
        calls = [self._awaiting.popleft() for _ in range(len(self._awaiting))]
        written = self._write_steps()
        for call in calls:
            call()
        return written

    def _write_steps(self) -> int:
        written = 0
        while self._steps:
            taken = [self._steps.popleft() for _ in range(min(len(self._steps), _AT_ONCE))]
            steps: dict[str, list[Step]] = {}
            for tenant, headers, kind, at, data in taken:
                owner = owner_by(headers, tenant)
                # A retry may be in another queue than the task was: owners can be mapped anew.
                is_told = kind in _NAMED and (owner != tenant or headers.get("retries"))
                step = self._step(headers, kind, at, data, queue_name(tenant) if is_told else "")
                steps.setdefault(owner, []).append(step)
            try:
                with suppress(RegistryRefused):  # for ever, as the store has said; the others are written
                    self._records.write(steps)
                self._ended(_ends(steps))
            except RegistryUnavailable:  # the store has said that Redis is away
                if len(self._steps) + len(taken) <= _MOST:
                    self._steps.extendleft(reversed(taken))
                self._any.set()
                return written
            except Exception:  # a defect in one record must not end all others
                logger.exception("what became of %d tasks was not recorded", len(taken))
            written += len(taken)
        return written

    def _step(
        self, headers: Mapping[str, Any], kind: Kind, at: float, data: dict[str, Any], queue: str
    ) -> Step:
        retries = number_of(headers.get("retries"))
        fields: dict[str, str | float] = {}
        if kind == "started":
            fields = {"started": f"{at:.6f}", "worker": self._worker}
            data = {"worker": self._worker, "attempt": retries + 1}
            if tags := headers.get(TAGS_HEADER):
                fields["tags"] = json.dumps(tags, ensure_ascii=False, default=str)
        if queue:
            fields["queue"] = queue
        if kind in _OVER and (attempt := attempt_in(headers)) is not None:
            fields["over"] = attempt
        if "error" in data:
            fields["error"] = written_error(data["error"], data["message"])
        if "due" in data:
            fields["due"] = data["due"]
        return Step(
            headers["id"],
            kind,
            at,
            name=str(headers.get("task", "")) if kind in _NAMED else "",
            retries=retries,
            replays=number_of(headers.get(REPLAYS_HEADER)),
            data=data,
            fields=fields,
        )


def _ends(steps: Mapping[str, Sequence[Step]]) -> dict[str, dict[str, Stored]]:
    """Return how the tasks stand that have ended, by owner."""
    ends = {
        owner: {step.task_id: step.state for step in some if step.is_final and step.state is not None}
        for owner, some in steps.items()
    }
    return {owner: states for owner, states in ends.items() if states}
