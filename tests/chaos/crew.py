"""The processes of one scenario: workers, publishers, reaper and API; none outlives it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chaos.variables import CONTROL, LEDGER
from support.api_server import SECRET
from support.workers import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.controls import Control
    from chaos.load import Load
    from taketurns.settings import Settings

STOP_WITHIN: Final = 30.0
_BIN = Path(sys.executable).parent


class CrewFailed(Exception):
    """A process ended by itself, or did not end when it was told to; the message has the end of its log."""


class Member:
    """One process, in a process group of its own."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self._log = log
        self.killed = False

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace")

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return not self.killed and self.process.poll() is None

    def children(self) -> list[int]:
        """Return the ids of its child processes."""
        pid = self.process.pid
        with suppress(FileNotFoundError):
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def kill(self) -> None:
        """Kill it and what it has started, at once."""
        self.killed = True
        if self.process.returncode is None:  # else the id may be somebody else's by now
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def behead(self) -> None:
        """Kill it alone, and leave to themselves the processes that it has started."""
        self.process.kill()
        self.killed = True  # not waited for, so that nobody gets its id before [kill][] ends the rest

    def stop(self) -> None:
        """Have it end as an operator does, and wait for that.

        Raises:
            CrewFailed: it does not end, or ends with an error.
        """
        self.process.terminate()
        self.ended()

    def ended(self) -> None:
        """Wait until it has ended after a SIGTERM.

        Raises:
            CrewFailed: it does not end, or ends with an error.
        """
        try:
            code = self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            raise CrewFailed(f"{self.name} did not stop within {STOP_WITHIN:g} s:\n{self._end}") from None
        if code:
            raise CrewFailed(f"{self.name} ended with {code}:\n{self._end}")

    def check(self) -> None:
        """See that it runs.

        Raises:
            CrewFailed: it doesn't.
        """
        if not self.runs:
            raise CrewFailed(f"{self.name} ended with {self.process.returncode}:\n{self._end}")

    @property
    def _end(self) -> str:
        return self.log[-4000:]


class Crew:
    """Starts processes and ends them all.

    Args:
        settings: where the servers are, for those of the crew.
        directory: the folder of the ledger and the logs.
        control: what the processes go without.

    Attributes:
        variables: the environment of whatever is started from now on, beside what leads it to the servers.
    """

    def __init__(self, settings: Settings, directory: Path, control: Control | None) -> None:
        self.settings = settings
        self.directory = directory
        self.ledger_path = directory / "ledger"
        self.variables = {
            LEDGER: str(self.ledger_path),
            "TAKETURNS_API_JWT_SECRET": SECRET,
            "TAKETURNS_WORKER_MAX_STARTS": "1000",  # whose worker is killed five times here has had bad luck
        }
        if control is not None:
            self.variables[CONTROL] = control
        self._members: list[Member] = []
        self._workers = 0

    def __iter__(self) -> Iterator[Member]:
        return (member for member in self._members if member.runs)

    def worker(self, *, pool: str) -> Member:
        """Start a worker of two slots; it says in the ledger when it is up."""
        self._workers += 1
        name = f"w{self._workers}@{self.settings.redis.redis_prefix}"
        options = ["-n", name, "-P", pool, "-c", "2", "-l", "WARNING", "--without-mingle"]
        command = [sys.executable, "-m", "celery", "-A", "chaos.app", "worker", *options]
        return self.start(name, command)

    def publisher(self, load: Load) -> Member:
        """Start a publisher process."""
        return self.start(load.name, [sys.executable, "-m", "chaos.load", load.to_json()])

    def reaper(self, **variables: str) -> Member:
        """Start the reaper."""
        return self.start("reaper", [sys.executable, "-m", "chaos.reaping"], **variables)

    def api(self, port: int) -> Member:
        """Start the HTTP API."""
        command = [str(_BIN / "taketurns"), "-A", "chaos.app", "api", "--port", str(port)]
        return self.start("api", command)

    def start(self, name: str, command: list[str], **variables: str) -> Member:
        """Start a process of ours; the kernel ends it should this one be killed (where there is a setpriv)."""
        guarded = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        path = self.directory / f"{name}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [*guarded, *command],
                env=environment(self.settings, **self.variables, **variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        member = Member(name, process, path)
        self._members.append(member)
        return member

    def end(self) -> None:
        """Kill whatever still runs, and what those that were killed have left behind."""
        for member in self._members:
            member.kill()
