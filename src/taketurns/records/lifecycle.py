"""The life of a task as its record tells it: states, steps, and which step overrules which. Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from taketurns.records.events import written

if TYPE_CHECKING:
    from collections.abc import Mapping

Stored = Literal[
    "QUEUED",
    "BLOCKED",
    "RUNNING",
    "RETRYING",
    "SUCCESS",
    "FAILURE",
    "CANCELLED",
    "EXPIRED",
    "DEAD",
    "IGNORED",
]
"""The states that are written down."""

State = Literal[
    "QUEUED",
    "DELAYED",
    "BLOCKED",
    "THROTTLED",
    "RUNNING",
    "RETRYING",
    "SUCCESS",
    "FAILURE",
    "CANCELLED",
    "EXPIRED",
    "DEAD",
    "IGNORED",
]
"""The states that are told. DELAYED and THROTTLED are queued tasks that can't start yet; BLOCKED waits for others."""

STATES: Final[tuple[State, ...]] = get_args(State)

FINAL: Final[frozenset[State]] = frozenset({"SUCCESS", "FAILURE", "CANCELLED", "EXPIRED", "DEAD", "IGNORED"})
"""Nothing follows these by itself; a dead letter's replay begins anew."""

Kind = Literal[
    "queued",
    "delayed",
    "blocked",
    "started",
    "progress",
    "retrying",
    "completed",
    "failed",
    "cancelled",
    "expired",
    "dead",
    "ignored",
]
"""The steps of a life; an event of the live streams has the same name."""

_LEADS_TO: Final[Mapping[Kind, tuple[Stored, int]]] = {
    "queued": ("QUEUED", 0),
    "delayed": ("QUEUED", 0),
    "blocked": ("BLOCKED", 0),
    "started": ("RUNNING", 2),
    "retrying": ("RETRYING", 4),
    "completed": ("SUCCESS", 6),
    "failed": ("FAILURE", 6),
    "cancelled": ("CANCELLED", 6),
    "expired": ("EXPIRED", 6),
    "dead": ("DEAD", 6),
    "ignored": ("IGNORED", 6),
}

_NOWHERE: Final = (None, 0)

ENDS: Final[frozenset[str]] = frozenset(kind for kind, (state, _) in _LEADS_TO.items() if state in FINAL)
"""The steps that lead to an end."""

_LONGEST_TEXT: Final = 1000
"""Characters of an error's message or a note that are kept."""


class Step(NamedTuple):
    """Something that happened to a task; a tuple, since a worker makes two for each of its tasks.

    Attributes:
        task_id: the task's id.
        kind: what happened.
        at: when, in seconds since 1970 by the clock of whoever tells.
        name: the task's name; with it a record is begun anew that Redis has lost.
        retries: how often the task was tried again before.
        replays: how often it came back from the dead letters.
        data: what an event of this kind tells besides.
        fields: what the record is to remember.
        asked: somebody asks for this, and it is no news from who has the task: it overrules no end.
    """

    task_id: str
    kind: Kind
    at: float
    name: str = ""
    retries: int = 0
    replays: int = 0
    data: Mapping[str, Any] = MappingProxyType({})
    fields: Mapping[str, str | float] = MappingProxyType({})
    asked: bool = False

    @property
    def state(self) -> Stored | None:
        """The state that it leads to; None: it changes none."""
        return _LEADS_TO.get(self.kind, _NOWHERE)[0]

    @property
    def is_final(self) -> bool:
        """Whether the task has come to its end."""
        return self.kind in ENDS

    @property
    def order(self) -> int:
        """A number that grows with the steps of a task.

        Several processes tell them, each in its own time, so a later step may be told before an earlier one. The
        state is that of the highest number.
        """
        return self.replays * 1_000_000 + self.retries * 10 + _LEADS_TO.get(self.kind, _NOWHERE)[1]

    def event(self) -> str:
        """Return the event as it is stored."""
        return written(self.kind, self.at, self.data)


def attempt_of(submission: str, *, retries: int, replays: int) -> str:
    """Return what tells an attempt of a task from others of the same id, as a record keeps it."""
    return f"{replays} {retries} {submission}"


def is_over(attempt: str, last_over: str) -> bool:
    """Tell whether an attempt has ended, by the last one of the same submission that has.

    An id may be that of several submissions, as of a task that submits itself, or by Celery's ``Task.replace``. The
    end of one says nothing of the others.
    """
    if not last_over:
        return False
    replays, retries, submission = attempt.split()
    last_replays, last_retries, last_submission = last_over.split()
    return submission == last_submission and (int(replays), int(retries)) <= (
        int(last_replays),
        int(last_retries),
    )


def shortened(text: str) -> str:
    """Return a text as a record keeps it."""
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
