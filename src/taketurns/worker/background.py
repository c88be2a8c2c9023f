"""Blocking calls of the worker, made beside its loop: the management API, Redis, confirmed publishing.

The loop itself must never wait for a server. Results come back to it through ``hub.call_soon``.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

from celery.utils.log import get_logger

from taketurns.errors import TaketurnsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu.asynchronous import Hub

logger = get_logger(__name__)
T = TypeVar("T")


class Background:
    """Runs jobs one after another in a thread of its own.

    The thread ends with the process, in the middle of a job if need be: a stopping worker waits for no server, and
    what a job would have done is done again by the next worker.

    Args:
        hub: the worker's loop, in which the outcomes are handled.
        name: the thread's name.
    """

    def __init__(self, hub: Hub, name: str = "taketurns") -> None:
        self._hub = hub
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._closed = False
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(
        self,
        job: Callable[[], T],
        done: Callable[[T], None] | None = None,
        failed: Callable[[TaketurnsError], None] | None = None,
    ) -> None:
        """Run ``job`` in the thread, then ``done`` or ``failed`` in the loop.

        An error that is not one of taketurns is a defect: it is logged with its traceback.
        """

        def run() -> None:
            try:
                result = job()
            except TaketurnsError as error:
                if failed is None:
                    logger.warning("%s", error)
                else:
                    self._tell(failed, error)
            except Exception as error:  # a defect in one job must not end the others
                logger.exception("a background job failed")
                if failed is not None:
                    self._tell(failed, TaketurnsError(f"a defect: {error!r}"))
            else:
                if done is not None:
                    self._tell(done, result)

        self._jobs.put(run)

    def close(self) -> None:
        """Drop what has not begun; what runs is left to its own timeouts."""
        self._closed = True
        self._jobs.put(None)

    def _work(self) -> None:
        while (run := self._jobs.get()) is not None and not self._closed:
            run()

    def _tell(self, callback: Callable[[T], None], outcome: T) -> None:
        if not self._closed:
            self._hub.call_soon(callback, outcome)


class Repeated(Generic[T]):
    """One background job at an interval, never twice at a time, with one log line per outage.

    Args:
        background: runs the job.
        what: the job's purpose, for the log.
        job: what to run in the thread.
        done: what to do with its result, in the loop.
    """

    def __init__(
        self, background: Background, what: str, job: Callable[[], T], done: Callable[[T], None]
    ) -> None:
        self._background = background
        self._what = what
        self._job = job
        self._done = done
        self._under_way = False
        self._again = False
        self._failing = False

    def __call__(self) -> None:
        """Begin the job unless it is still under way."""
        if not self._under_way:
            self._under_way = True
            self._background.submit(self._job, self._succeeded, self._failed)

    def anew(self) -> None:
        """Begin the job since something has changed; once more after one that is under way, which may not see it."""
        self._again = self._under_way
        self()

    def _succeeded(self, result: T) -> None:
        self._end()
        if self._failing:
            self._failing = False
            logger.info("%s works again", self._what)
        self._done(result)

    def _failed(self, error: TaketurnsError) -> None:
        self._end()
        if not self._failing:
            self._failing = True
            logger.warning("%s does not work, will go on trying: %s", self._what, error)

    def _end(self) -> None:
        self._under_way = False
        if self._again:
            self.anew()
