"""One guarded server of a directory: start it, wait until it answers, stop it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from taketurns.services import guardian
from taketurns.services.errors import NodesUnavailable

if TYPE_CHECKING:
    from pathlib import Path

POLL = 0.05  # seconds between two looks whether a server answers or has gone
_LOG_LINES = 20


class Server(ABC):
    """A server process with a lock and a log in the directory, named after it.

    Attributes:
        name: how it is called in messages and file names.
        ports: the names of the ports that it listens on.
        start_within: seconds until it must answer after a start.
        grace: seconds that it has to end by itself before it is killed.
    """

    name: str
    ports: tuple[str, ...]
    start_within: float
    grace = 10.0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = directory / f"{self.name}.lock"
        self._log = directory / f"{self.name}.log"
        self._guardian: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> list[str]:
        """Write the configuration files and return the command to run in the foreground."""

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the command: nothing of the caller's leads it astray."""
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        return kept | {"HOME": str(self.directory), "LANG": "C.UTF-8"}

    @abstractmethod
    def answers(self) -> bool:
        """Return whether the server does its work now; called again and again, so it has to be quick."""

    @property
    def running(self) -> bool:
        """Whether the server or its guardian lives, whoever started it."""
        if self._guardian is not None and self._guardian.poll() is None:
            return True
        try:
            with self._lock.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @property
    def up(self) -> bool:
        """Whether it runs and does its work now."""
        return self.running and self.answers()

    def start(self, *, detached: bool = False) -> None:
        """Start it under a guardian and wait until it answers.

        Args:
            detached: let it live on when this process ends.

        Raises:
            NodesUnavailable: it ended, or gave no answer within ``start_within``.
        """
        guarded = [str(self._lock), "0" if detached else str(os.getpid()), str(self.grace), *self.prepare()]
        with self._log.open("wb") as log:
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", str(guardian.__file__), *guarded],
                cwd=self.directory,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + self.start_within
        while not self.answers():
            if self._guardian.poll() is not None:
                raise NodesUnavailable(self._failure("it ended at once"))
            if time.monotonic() > deadline:
                raise NodesUnavailable(
                    self._failure(f"it gave no answer within {self.start_within:g} seconds")
                )
            time.sleep(POLL)

    def request_stop(self) -> None:
        """Ask the guardian to end the server; return at once."""
        with suppress(ProcessLookupError):
            if self._guardian is not None:
                self._guardian.terminate()
            elif self.running:
                os.kill(int(self._lock.read_text()), signal.SIGTERM)

    def wait_until_gone(self) -> bool:
        """Wait, at most 10 seconds beyond ``grace``, until it has ended; return whether it has."""
        deadline = time.monotonic() + self.grace + 10
        while self.running:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
        self._guardian = None
        return True

    def log_end(self) -> str:
        """Return where its log is and the last lines of it."""
        with self._log.open(errors="replace") as log:
            lines = "".join(f"  {line.rstrip()}\n" for line in deque(log, _LOG_LINES))
        return f"The end of {self._log}:\n{lines}"

    def _failure(self, what: str) -> str:
        return (
            f"{self.name} did not start: {what}. {self.log_end()}"
            f"Mend what it says, or remove {self.directory} to start afresh, or name servers that run "
            "already by TAKETURNS_AMQP_URL, TAKETURNS_MANAGEMENT_URL and TAKETURNS_REDIS_URL."
        )
