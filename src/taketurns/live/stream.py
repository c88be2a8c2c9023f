"""Streams of events: first what happened, then what happens, nothing missing and nothing twice."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from operator import methodcaller
from typing import TYPE_CHECKING, Final, Literal, Self

from taketurns.errors import RegistryUnavailable, TaskNotFound
from taketurns.live.event import BEGINNING, Event, History, is_later
from taketurns.records.events import entry_of, of_entry
from taketurns.tenants import validate_tenant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from taketurns.extension import TakeTurns
    from taketurns.live.hub import Hub
    from taketurns.live.listener import Listener

KEEP_ALIVE: Final = 15.0
"""Seconds after which a stream that has nothing to tell gives a sign of life."""

_RETRY_AFTER: Final = 1.0
_PAGE: Final = 10
"""Entries of a tenant's stream that are read at once."""

End = Literal["final", "stopping", "unauthorised"]
"""Why a stream ended: its task did, the process stops, or its time was up."""


class Stream(ABC):
    """Events, to be iterated over once, within ``async with``.

    What it yields is None where it gives a sign of life only. It is iterated over until [ended][] says why it ended.

    Attributes:
        ended: why it ended; None: it has not.

    Args:
        turns: the app's TakeTurns.
        hub: what hears the events.
        tenant: whose.
        task_id: the task; None: all of them.
        after: the id of the event after which it begins.
        until: when it ends at the latest, in seconds since 1970.
    """

    def __init__(
        self,
        turns: TakeTurns,
        hub: Hub,
        tenant: str,
        task_id: str | None,
        *,
        after: str | None,
        until: float | None,
    ) -> None:
        self.ended: End | None = None
        self._turns = turns
        self._hub = hub
        self._tenant = validate_tenant(tenant)
        self._task_id = task_id
        self._last = after
        self._until = until
        self._first: Sequence[Event] = ()
        self._open = AsyncExitStack()
        self._listener: Listener

    @property
    def has_more(self) -> bool:
        """Whether there is something to tell yet, beside that it is connected; known once it is open."""
        return self.ended is None or len(self._first) > 1

    async def __aenter__(self) -> Self:
        """Begin to listen, and look what has happened before.

        Raises:
            TaskNotFound: nothing is remembered of the task.
            RegistryUnavailable: Redis is away.
        """
        channel = self._turns.records.events(self._tenant)
        try:
            self._listener = await self._open.enter_async_context(self._hub.listening(channel, self._task_id))
            self._listener.is_behind = False  # what is told from now on is heard
            self._first = await self._begin()
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def __aiter__(self) -> AsyncIterator[Event | None]:
        for event in self._first:
            yield event
        self._first = ()
        while self.ended is None:
            if self._listener.has_to_end:
                self.ended = "stopping"
            elif self._until is not None and time.time() >= self._until:
                self.ended = "unauthorised"
            elif self._listener.is_behind:
                async for event in self._caught_up():
                    yield event
            elif (heard := self._listener.take()) is not None:
                if heard.id and (self._last is None or is_later(heard.id, self._last)):
                    self._pass(heard)
                    yield heard
            elif not await self._listener.wait(self._patience()):
                yield None

    async def _caught_up(self) -> AsyncIterator[Event]:
        self._listener.is_behind = False
        try:
            async for event in self._missed():
                yield event
        except RegistryUnavailable:
            self._listener.is_behind = True
            await asyncio.sleep(_RETRY_AFTER)

    @abstractmethod
    async def _begin(self) -> Sequence[Event]:
        """Return the first events."""

    @abstractmethod
    def _missed(self) -> AsyncIterator[Event]:
        """Return what happened after the last event that was passed on, and note it as passed on."""

    def _pass(self, event: Event) -> None:
        if event.id is not None:
            self._last = event.id

    def _patience(self) -> float:
        return KEEP_ALIVE if self._until is None else max(0.0, min(KEEP_ALIVE, self._until - time.time()))


class TaskStream(Stream):
    """The events of one task, until it ends: its history, of progress the last, and then all that happens."""

    async def _begin(self) -> Sequence[Event]:
        history = await self._history()
        if not history.events:
            raise TaskNotFound(self._tenant, self._task_id or "")
        self._last = history.known(self._last)
        connected = Event("connected", task_id=self._task_id, data={"at": round(time.time(), 3)})
        return [connected, *self._after(history)]

    async def _missed(self) -> AsyncIterator[Event]:
        for event in self._after(await self._history()):
            yield event

    def _pass(self, event: Event) -> None:
        super()._pass(event)
        if event.is_final:
            self.ended = "final"

    def _after(self, history: History) -> Sequence[Event]:
        """Return what is new; an earlier end in it is none, if the task was replayed."""
        events = history.after(self._last)
        if events:
            self._last = events[-1].id
        if history.is_over:
            self.ended = "final"
        return events

    async def _history(self) -> History:
        task_id = self._task_id or ""
        key = self._turns.records.key(self._tenant, task_id)
        return History.of(task_id, await self._hub.read(lambda redis: redis.hgetall(key)))


class TenantStream(Stream):
    """The events of all tasks of a tenant, from now on or after one, as far as the tenant's stream reaches back."""

    async def _begin(self) -> Sequence[Event]:
        now = round(time.time(), 3)
        if self._last is not None:
            self._listener.is_behind = True
            return [Event("connected", data={"at": now})]
        self._last = (await self._ends())[1]
        # With its id a client that loses the stream before the first event has something to go on after.
        return [Event("connected", self._last, data={"at": now})]

    async def _missed(self) -> AsyncIterator[Event]:
        if (gap := await self._gap()) is not None:
            yield gap
        key = self._turns.records.events(self._tenant)
        last = self._last or BEGINNING
        after = entry_of(last)  # which may hold more events than those up to the last one
        while True:
            look = methodcaller("xrange", key, min=after, count=_PAGE)
            page: list[tuple[str, dict[str, str]]] = await self._hub.read(look)
            for entry_id, fields in page:
                after = f"({entry_id}"
                for event_id, task_id, text in of_entry(entry_id, fields["e"]):
                    if is_later(event_id, last):
                        event = Event.read(event_id, task_id, text)
                        self._pass(event)
                        yield event
            if len(page) < _PAGE:
                return

    async def _gap(self) -> Event | None:
        """Return what says that events after the last one are lost, if they may be; and go on with what is there."""
        last = self._last or BEGINNING
        first, newest, has_all = await self._ends()
        if is_later(last, newest):  # all of it was lost
            self._last = BEGINNING
        elif not is_later(first, last) or (last == BEGINNING and has_all):
            return None
        return Event("gap", data={"after": last, "at": round(time.time(), 3)})

    async def _ends(self) -> tuple[str, str, bool]:
        """Return the first and the last id of the tenant's stream, and whether that has all events it ever had."""
        key = self._turns.records.events(self._tenant)
        oldest = await self._hub.read(lambda redis: redis.xrange(key, count=1))
        latest = await self._hub.read(lambda redis: redis.xrevrange(key, count=1))
        if not oldest or not latest:
            return BEGINNING, BEGINNING, True
        first, last = (of_entry(entry_id, fields["e"]) for entry_id, fields in (oldest[0], latest[0]))
        return first[0][0], last[-1][0], int(oldest[0][1]["n"]) == len(first)
