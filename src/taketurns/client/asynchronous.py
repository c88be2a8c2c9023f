"""The client for event loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

import httpx

from taketurns.client import calls
from taketurns.client.base import Base, check, not_ended
from taketurns.client.described import method_of
from taketurns.client.events import Event, Following
from taketurns.client.retrying import Attempts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable

    from taketurns.client.call import Call
    from taketurns.client.models import BatchEntry, TaskState, TaskView
    from taketurns.client.submission import Submission

P = ParamSpec("P")
T = TypeVar("T")


def _method(
    describe: Callable[P, Call[T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._answer_to(describe(*args, **kwargs))

    return method_of(describe, method)


class AsyncClient(Base[httpx.AsyncClient]):
    """A client for an event loop of asyncio's, whose tasks may share one. Close it, or use it in ``async with``.

    Its methods raise [ApiError][], or one of its subclasses.
    """

    submit = _method(calls.submit)
    submit_many = _method(calls.submit_many)
    task = _method(calls.task)
    task_page = _method(calls.task_page)
    cancel = _method(calls.cancel)
    cancel_all = _method(calls.cancel_all)
    me = _method(calls.me)
    stats = _method(calls.stats)
    schedules = _method(calls.schedules)
    create_schedule = _method(calls.create_schedule)
    schedule = _method(calls.schedule)
    change_schedule = _method(calls.change_schedule)
    remove_schedule = _method(calls.remove_schedule)
    dead_letters = _method(calls.dead_letters)
    dead_letter = _method(calls.dead_letter)
    replay_dead_letter = _method(calls.replay_dead_letter)
    replay_dead_letters = _method(calls.replay_dead_letters)
    discard_dead_letter = _method(calls.discard_dead_letter)
    discard_dead_letters = _method(calls.discard_dead_letters)

    async def submit_stream(
        self, submissions: Iterable[Submission] | AsyncIterable[Submission], *, size: int = 1000
    ) -> AsyncGenerator[BatchEntry, None]:
        """Do what [Client.submit_stream][] does, also with submissions that are made asynchronously."""
        batch: list[Submission] = []
        most = calls.batch_size(size)
        async for submission in _each(submissions):
            batch.append(submission)
            if len(batch) == most:
                for entry in (await self.submit_many(batch)).tasks:
                    yield entry
                batch = []
        if batch:
            for entry in (await self.submit_many(batch)).tasks:
                yield entry

    async def tasks(self, **chosen: Unpack[calls.TaskFilter]) -> AsyncGenerator[TaskView, None]:
        """Do what [Client.tasks][] does."""
        call = calls.task_page(limit=calls.LONGEST_PAGE, **chosen)
        while True:
            page = await self._answer_to(call)
            for task in page.tasks:
                yield task
            if page.cursor is None:
                return
            call = call.asking(cursor=page.cursor)

    async def wait(self, task_id: str, *, timeout: float | None = None) -> TaskState:  # noqa: ASYNC109  # as in Client
        """Do what [Client.wait][] does."""
        try:
            async with asyncio.timeout(timeout):
                async with aclosing(self.task_events(task_id)) as events:
                    async for _ in events:
                        pass
        except TimeoutError:
            raise not_ended(task_id, timeout) from None
        return await self.task(task_id)

    def task_events(self, task_id: str, *, after: str | None = None) -> AsyncGenerator[Event, None]:
        """Do what [Client.task_events][] does."""
        return self._follow(calls.task_events(task_id), after, of_task=True)

    def all_events(self, *, after: str | None = None) -> AsyncGenerator[Event, None]:
        """Do what [Client.all_events][] does."""
        return self._follow(calls.all_events(), after, of_task=False)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _connect(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(**options)

    async def _answer_to(self, call: Call[T]) -> T:
        attempts = Attempts(self._retries, is_repeatable=call.is_repeatable)
        while True:
            with attempts:
                response = await self._http.send(self._request(call))
                check(response)
                return call.read(response.content)
            await asyncio.sleep(attempts.pause)

    async def _follow(
        self, call: Call[Any], after: str | None, *, of_task: bool
    ) -> AsyncGenerator[Event, None]:
        following = Following(after)
        attempts = Attempts(self._reconnects, is_repeatable=True)
        while not following.is_over:
            request = self._stream_request(call, following.headers, None)
            with attempts:
                async with self._streaming(request) as response:
                    following.connected(response.status_code)
                    async for line in response.aiter_lines():
                        if (event := following.take(line)) is not None:
                            attempts.begin_anew()
                            yield event
                    following.ended(of_task=of_task)
            if not following.is_over:
                await asyncio.sleep(attempts.pause)

    @asynccontextmanager
    async def _streaming(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        response = await self._http.send(request, stream=True)
        try:
            if not response.is_success:
                await response.aread()
            check(response)
            yield response
        finally:
            await response.aclose()


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
