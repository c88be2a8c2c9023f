"""Worker processes, the same for every system: prefork, so many of so many slots; none outlives the benchmark."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.apps.common import BROKER, PREFIX
from benchmarks.stamps import DIRECTORY
from support.uninterrupted import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from celery import Celery

    from benchmarks.lab import Lab

CONCURRENCY: Final = 2
POOL: Final = "prefork"
_READY_WITHIN = 60.0
_TESTS = Path(__file__).parents[1]
_TICKS = os.sysconf("SC_CLK_TCK")


class WorkersFailed(Exception):
    """The workers did not start, or one ended by itself."""


class Fleet:
    """Some workers that run."""

    def __init__(self, processes: Mapping[str, subprocess.Popen[bytes]], directory: Path) -> None:
        self._processes = processes
        self._directory = directory

    @property
    def names(self) -> list[str]:
        """The workers' names."""
        return list(self._processes)

    def pid(self, name: str) -> int:
        """Return the id of a worker's main process."""
        return self._processes[name].pid

    def cpu(self) -> float:
        """Return the CPU seconds that the workers' main processes have used, without the pool's processes."""
        return sum(cpu_seconds(process.pid) for process in self._processes.values())

    def check(self) -> None:
        """See that all still run.

        Raises:
            WorkersFailed: one doesn't; the message has the end of its log.
        """
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise WorkersFailed(f"{name} ended with {process.returncode}:\n{self.log(name)[-3000:]}")

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Let none of them do anything until the block ends."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Let them work until the block ends, while they are halted."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        for process in self._processes.values():
            os.killpg(process.pid, number)

    def kill(self) -> None:
        """End all of them as a failing machine does."""
        _stop(list(self._processes.values()))

    def log(self, name: str) -> str:
        """Return what a worker printed."""
        return (self._directory / f"{name}.log").read_text(errors="replace")


@contextmanager
def fleet(lab: Lab, app: Celery, module: str, *, workers: int) -> Iterator[Fleet]:
    """Run the workers of an app until the block ends; all of them answer when it begins.

    Args:
        lab: where they work.
        app: the same app in this process, to reach them.
        module: the module that holds the app.
        workers: how many workers.

    Raises:
        WorkersFailed: they did not start.
    """
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for number in range(workers):
            name = f"w{number}-{time.time_ns() % 10**9}@{lab.name}"
            processes[name] = _start(lab, app, module, name)
        this = Fleet(processes, lab.directory)
        _wait_until_ready(this, app)
        yield this
    finally:
        with uninterrupted():
            _stop(list(processes.values()))


def _start(lab: Lab, app: Celery, module: str, name: str) -> subprocess.Popen[bytes]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TAKETURNS_")}
    environment = {
        **kept,
        **lab.variables(),
        "PYTHONPATH": os.fspath(_TESTS),
        BROKER: str(app.conf.broker_url),
        PREFIX: lab.name,
        DIRECTORY: os.fspath(lab.directory),
    }
    options = ("-n", name, "-P", POOL, "-c", str(CONCURRENCY), "-l", "WARNING", "--without-mingle")
    with (lab.directory / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", module, "worker", *options],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  # no other thread runs while workers start
        )


def _wait_until_ready(this: Fleet, app: Celery) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    missing = set(this.names)
    while missing:
        this.check()
        if time.monotonic() > deadline:
            raise WorkersFailed(f"{', '.join(missing)} did not answer within {_READY_WITHIN:g} s")
        replies = app.control.ping(destination=list(missing), timeout=0.5, limit=len(missing)) or []
        missing -= {name for reply in replies for name in reply}


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Kill them, the pool's processes included: what they would give back is removed anyway."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process of this machine has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / _TICKS


def _die_with_parent() -> None:
    """Have the kernel end the worker should the benchmark be killed (Linux only)."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
