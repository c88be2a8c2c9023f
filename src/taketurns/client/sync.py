"""The client for threads."""

from __future__ import annotations

import time
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

import httpx

from taketurns.client import calls
from taketurns.client.base import Base, check, not_ended
from taketurns.client.deadline import Deadline
from taketurns.client.described import method_of
from taketurns.client.events import SILENCE, Event, Following
from taketurns.client.retrying import Attempts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from taketurns.client.call import Call
    from taketurns.client.models import BatchEntry, TaskState, TaskView
    from taketurns.client.submission import Submission

P = ParamSpec("P")
T = TypeVar("T")


def _method(describe: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._answer_to(describe(*args, **kwargs))

    return method_of(describe, method)


class Client(Base[httpx.Client]):
    """A client for threads, which may share one. Close it, or use it in ``with``.

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

    def submit_stream(self, submissions: Iterable[Submission], *, size: int = 1000) -> Iterator[BatchEntry]:
        """Submit any number of tasks, so many at a time, and yield an entry for each once it is answered.

        They are taken as they are submitted, and that as the entries are asked for. If one is not valid the tasks of
        its batch are not submitted (InvalidBatch, which counts within the batch), those of earlier ones are.
        """
        iterator, most = iter(submissions), calls.batch_size(size)
        while batch := list(islice(iterator, most)):
            yield from self.submit_many(batch).tasks

    def tasks(self, **chosen: Unpack[calls.TaskFilter]) -> Iterator[TaskView]:
        """Yield all of the caller's tasks that have this, the latest first, page by page."""
        call = calls.task_page(limit=calls.LONGEST_PAGE, **chosen)
        while True:
            page = self._answer_to(call)
            yield from page.tasks
            if page.cursor is None:
                return
            call = call.asking(cursor=page.cursor)

    def wait(self, task_id: str, *, timeout: float | None = None) -> TaskState:
        """Wait for a task's end by its events, and return what became of it.

        Args:
            task_id: the task.
            timeout: seconds to wait for at most, give or take one; None: any time.

        Raises:
            TimeoutError: it has not ended by then.
            NotFound: nothing is remembered of it, or it is another tenant's.
        """
        deadline = Deadline(None if timeout is None else time.monotonic() + timeout)
        try:
            for _ in self._follow(calls.task_events(task_id), None, deadline, of_task=True):
                pass
        except TimeoutError:
            raise not_ended(task_id, timeout) from None
        return self.task(task_id)

    def task_events(self, task_id: str, *, after: str | None = None) -> Generator[Event, None, None]:
        """Yield the events of a task, its history first, until it has ended.

        After a lost connection it goes on where it was. ``after`` is the id of an event after which to begin.
        """
        return self._follow(calls.task_events(task_id), after, Deadline(None), of_task=True)

    def all_events(self, *, after: str | None = None) -> Generator[Event, None, None]:
        """Yield the events of all of the caller's tasks, from now on or after an event, without an end.

        The first one, ``connected``, says that nothing is missed from now on. ``gap`` says that some may be.
        """
        return self._follow(calls.all_events(), after, Deadline(None), of_task=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self, **options: Any) -> httpx.Client:
        return httpx.Client(**options)

    def _answer_to(self, call: Call[T]) -> T:
        attempts = Attempts(self._retries, is_repeatable=call.is_repeatable)
        while True:
            with attempts:
                response = self._http.send(self._request(call))
                check(response)
                return call.read(response.content)
            time.sleep(attempts.pause)

    def _follow(
        self, call: Call[Any], after: str | None, deadline: Deadline, *, of_task: bool
    ) -> Generator[Event, None, None]:
        following = Following(after)
        attempts = Attempts(self._reconnects, is_repeatable=True)
        while not following.is_over:
            within = deadline.allow(time.monotonic())
            request = self._stream_request(call, following.headers, within)
            with attempts, _until(deadline), self._streaming(request) as response:
                following.connected(response.status_code)
                for line in response.iter_lines():
                    if (event := following.take(line)) is not None:
                        attempts.begin_anew()
                        yield event
                    if deadline.is_stale(time.monotonic(), silence=SILENCE):
                        break
                else:
                    following.ended(of_task=of_task)
            if not following.is_over:
                time.sleep(deadline.shortened(attempts.pause, time.monotonic()))

    @contextmanager
    def _streaming(self, request: httpx.Request) -> Iterator[httpx.Response]:
        response = self._http.send(request, stream=True)
        try:
            if not response.is_success:
                response.read()
            check(response)
            yield response
        finally:
            response.close()


@contextmanager
def _until(deadline: Deadline) -> Iterator[None]:
    """Raise TimeoutError if the moment has come when a connection is to be opened, or has ended by it."""
    if deadline.is_over(time.monotonic()):
        raise TimeoutError
    try:
        yield
    except httpx.TimeoutException:
        if deadline.is_over(time.monotonic()):
            raise TimeoutError from None
        raise
