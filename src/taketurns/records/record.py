"""A task's record as it is read. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

from taketurns.records.events import read as read_event
from taketurns.tenants import queue_name
from taketurns.topology import PRIORITIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taketurns.records.lifecycle import State, Stored

_PRIORITY_NAMES = {str(number): name for name, number in PRIORITIES.items()}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running task says it is.

    Attributes:
        done: what is done.
        total: what there is to do; None: it did not say.
        note: what it is at.
    """

    done: float
    total: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What is remembered of a task. Times are seconds since 1970.

    Attributes:
        id: the task's id.
        tenant: whose task it is.
        name: the name of the task; empty: unknown.
        queue: where it was published to.
        stored: the state that was told last; see [state][].
        submitted_at: when it was submitted, or first heard of.
        priority: its priority's name, or None if it has none that a tenant's queue knows.
        tags: its tags.
        depends_on: the tasks that it had to wait for when it was submitted.
        due: when it is to start at the earliest, or to be tried again.
        started_at: when it started last.
        ended_at: when it came to its end.
        worker: the worker that started it last.
        attempts: how often it was started.
        error: the type and the text of what it failed with last; None: it has not, or has succeeded since.
        progress: how far it says it is.
    """

    id: str
    tenant: str
    name: str
    queue: str
    stored: Stored
    submitted_at: float
    priority: str | None = None
    tags: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    due: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    worker: str | None = None
    attempts: int = 0
    error: tuple[str, str] | None = None
    progress: Progress | None = None

    @classmethod
    def read(cls, tenant: str, task_id: str, stored: Mapping[str, str]) -> Self:
        """Read a record's fields as they are stored."""

        def number(name: str) -> float | None:
            return float(stored[name]) if name in stored else None

        kind, _, text = stored.get("error", "").partition("\n")
        told: dict[str, Any] = read_event(stored["progress"]) if "progress" in stored else {}
        return cls(
            id=task_id,
            tenant=tenant,
            name=stored.get("name", ""),
            queue=stored.get("queue") or queue_name(tenant),
            stored=cast("Stored", stored["state"]),
            submitted_at=float(stored["submitted"]),
            priority=priority_name(stored.get("priority", "")),
            tags=tuple(json.loads(stored.get("tags", "[]"))),
            depends_on=tuple(json.loads(stored.get("depends_on", "[]"))),
            due=number("due"),
            started_at=number("started"),
            ended_at=number("ended"),
            worker=stored.get("worker"),
            attempts=int(stored.get("attempts", 0)),
            error=(kind, text) if kind and stored["state"] != "SUCCESS" else None,
            progress=Progress(told["done"], told.get("total"), told.get("note", "")) if told else None,
        )

    def state(self, now: float) -> State:
        """Return its state at a time: what is queued for later is delayed until then."""
        if self.stored == "QUEUED" and self.due is not None and self.due > now:
            return "DELAYED"
        return self.stored


def priority_name(stored: str) -> str | None:
    """Return the name of a priority as it is stored; None: it is none of a tenant's queue."""
    return _PRIORITY_NAMES.get(stored)


def written_error(kind: str, text: str) -> str:
    """Return what a task failed with as it is stored; [read][taketurns.records.record.TaskRecord.read] parts it."""
    return f"{kind}\n{text}"
