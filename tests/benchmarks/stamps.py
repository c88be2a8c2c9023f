"""The time stamps that tasks write, and how they are read: all waits, rates and shares come from these alone.

A file for each run and process holds one record for each task: whose it was, when it started and when it ended. A
record costs its task a few microseconds.
"""

from __future__ import annotations

import os
import struct
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DIRECTORY: Final = "BENCH_STAMPS"
_RECORD: Final = struct.Struct("qdd")

_files: dict[str, int] = {}


class Stamp(NamedTuple):
    """One task that ran; times in seconds since the epoch."""

    key: int
    """What the run's publisher called the task; most often the tenant's number."""
    started: float
    ended: float


def work(run: str, key: int, seconds: float = 0.0) -> None:
    """Be the body of every task of the benchmark: take so many seconds, asleep, and stamp it."""
    started = ended = time.time()
    if seconds:
        time.sleep(seconds)
        ended = time.time()
    name = f"{run}.{os.getpid()}"
    if name not in _files:
        path = Path(os.environ[DIRECTORY]) / name
        _files[name] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(_files[name], _RECORD.pack(key, started, ended))


class Slot(NamedTuple):
    """The tasks that a process of a pool ran, in order."""

    process: int
    stamps: list[Stamp]


class Stamps:
    """What the tasks of one run wrote, as far as they have."""

    def __init__(self, directory: Path, run: str) -> None:
        self._directory = directory
        self._run = run

    def __len__(self) -> int:
        return sum(path.stat().st_size for path in self._paths()) // _RECORD.size

    def read(self) -> list[Stamp]:
        """Return all stamps in the order in which their tasks started."""
        return sorted((stamp for slot in self._slots() for stamp in slot), key=lambda stamp: stamp.started)

    def by_process(self) -> list[Slot]:
        """Return the tasks of each process."""
        return [Slot(int(path.suffix[1:]), _read(path)) for path in self._paths()]

    def occupied(self) -> list[Stamp]:
        """Return all stamps but the last of each slot, each task having its slot until the next one starts there.

        A process of the pool is a slot. What a task costs beside its body, on its way to the process and back, is
        thus its tenant's: of quick tasks it is a large part, and nobody else can use the slot meanwhile.
        """
        return [
            stamp._replace(ended=following.started)
            for slot in self._slots()
            for stamp, following in pairwise(slot)
        ]

    def _slots(self) -> Iterator[list[Stamp]]:
        """Give the stamps of each process, in the order in which it wrote them."""
        return map(_read, self._paths())

    def _paths(self) -> list[Path]:
        return list(self._directory.glob(f"{self._run}.*"))


def _read(path: Path) -> list[Stamp]:
    data = path.read_bytes()
    whole = len(data) // _RECORD.size * _RECORD.size
    return [Stamp._make(record) for record in _RECORD.iter_unpack(data[:whole])]


def starts_by_key(stamps: list[Stamp]) -> Mapping[int, list[float]]:
    """Return when the tasks of each key started, in order."""
    starts: dict[int, list[float]] = {}
    for stamp in stamps:
        starts.setdefault(stamp.key, []).append(stamp.started)
    return starts
