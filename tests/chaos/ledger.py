"""The ledger: one file to which everybody appends what happened, so that it depends on nothing that is being broken.

A record is a line of 128 bytes: its time, its kind, and words. A page of memory holds a whole number of them, and
appending is atomic, so that a process killed in the midst of a write leaves a whole line or none.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LENGTH = 128

Kind = Literal["try", "ok", "error", "start", "end", "ready", "reaping", "removed", "spared"]
"""What happened, and its words:

- ``try LABEL TENANT``: a publisher is about to submit a task;
- ``ok LABEL``, ``error LABEL WHAT``: what it was answered;
- ``start LABEL RUN WORKER``, ``end LABEL RUN``: the body of a task began, and reached its end;
- ``ready WORKER``: a worker is up;
- ``reaping BATCH``, ``removed BATCH TENANT``, ``spared BATCH TENANT``: the reaper began to remove some
  queues, and what had become of each in the end.
"""


class Entry(NamedTuple):
    """One record; its time in seconds since the epoch."""

    at: float
    kind: str
    words: tuple[str, ...]


class Ledger:
    """Appends to the file and reads what has come since the last look. Each process and reader has its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._read = 0

    @property
    def size(self) -> int:
        """How many records there are."""
        return self.path.stat().st_size // _LENGTH if self.path.exists() else 0

    def write(self, kind: Kind, *words: object) -> None:
        """Append a record of now."""
        line = f"{time.time():.6f} {kind} {' '.join(map(str, words))}".encode()
        if len(line) >= _LENGTH:
            raise ValueError(f"a record has {_LENGTH - 1} bytes at most: {line!r}")
        if self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(self._file, line.ljust(_LENGTH - 1) + b"\n")

    def news(self) -> Iterator[Entry]:
        """Return the records that have come since the last call."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = len(data) - len(data) % _LENGTH
        self._read += whole
        for line in data[:whole].splitlines():
            at, kind, *words = line.decode().split()
            yield Entry(float(at), kind, tuple(words))
