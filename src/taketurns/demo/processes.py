"""The processes of the demo: each under a guardian, so that none outlives it, however it ends."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections import deque
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from pathlib import Path
from typing import TYPE_CHECKING, Self

from taketurns.demo.errors import DemoFailed
from taketurns.services.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

_LOG_LINES = 20


class Process(Server):
    """One process of the demo.

    Args:
        name: how it is called in messages and in the name of its log.
        command: the command, which must stay in the foreground.
        directory: for its lock and its log.
        variables: environment variables of its own.
        answers: tells whether it does its work; called again and again after the start.
    """

    start_within = 60.0

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        directory: Path,
        variables: Mapping[str, str],
        answers: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name = name
        super().__init__(directory)
        self._command = list(command)
        self._variables = dict(variables)
        self._answers = answers

    def prepare(self) -> list[str]:
        """Return the command; there is nothing to write."""
        return self._command

    def environment(self) -> dict[str, str]:
        """Return the environment: no settings of the caller's but those of the demo."""
        kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        return super().environment() | kept | {"PYTHONUNBUFFERED": "1"} | self._variables

    def answers(self) -> bool:
        """Return whether it does its work."""
        return self._answers()

    def check(self) -> None:
        """See that it still runs.

        Raises:
            DemoFailed: it doesn't; the message has the end of its log.
        """
        if not self.running:
            raise DemoFailed(self._failure("it ended"))

    def _failure(self, what: str) -> str:
        with self._log.open(errors="replace") as log:
            tail = "".join(f"  {line.rstrip()}\n" for line in deque(log, _LOG_LINES))
        return f"the demo's {self.name} failed: {what}. The end of {self._log}:\n{tail}"


class Processes:
    """Processes that start at the same time, and run from enter to exit."""

    def __init__(self, *processes: Process) -> None:
        self._processes = processes

    def check(self) -> None:
        """See that all of them still run.

        Raises:
            DemoFailed: one doesn't.
        """
        for process in self._processes:
            process.check()

    def __enter__(self) -> Self:
        with ThreadPoolExecutor(len(self._processes)) as starters:
            starts = [starters.submit(process.start) for process in self._processes]
            try:
                for start in as_completed(starts):
                    start.result()
            except BaseException:
                self._request_stop()
                wait(starts)  # those that still wait for an answer give up, since their process has ended
                self._wait_until_gone()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._request_stop()
        self._wait_until_gone()

    def _request_stop(self) -> None:
        for process in self._processes:
            process.request_stop()

    def _wait_until_gone(self) -> None:
        for process in self._processes:
            if not process.wait_until_gone():
                raise DemoFailed(f"the demo's {process.name} did not stop; end it by hand")


def python(*arguments: str) -> list[str]:
    """Return the command that runs a module with this Python."""
    return [sys.executable, "-m", *arguments]


def taketurns(*arguments: str) -> list[str]:
    """Return the command ``taketurns -A taketurns.demo.app ...`` of this Python's environment."""
    return [str(Path(sysconfig.get_path("scripts"), "taketurns")), "-A", "taketurns.demo.app", *arguments]
