"""How the memory of each process grows."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path
from statistics import linear_regression
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chaos.crew import Member

EVERY: Final = 5.0
SETTLING: Final = 180.0
"""Seconds in which a process may grow as it likes."""

_WATCHED = 120.0  # a slope of less time tells nothing
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Memory:
    """Samples the resident memory of processes, each with those of its pool."""

    def __init__(self) -> None:
        self._samples: defaultdict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
        self._next = 0.0

    def sample(self, members: Iterable[Member]) -> None:
        """Take a sample of each process, unless the last one was just taken."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        for member in members:
            for pid in (member.process.pid, *member.children()):
                if (resident := _resident(pid)) is not None:
                    self._samples[member.name, pid].append((now, resident))

    def slopes(self) -> dict[str, float]:
        """Return by how many MB a minute each process grew that lived long enough, by its name and id."""
        return {
            f"{name} ({pid})": slope
            for (name, pid), samples in self._samples.items()
            if (slope := slope_of(samples)) is not None
        }


def slope_of(samples: list[tuple[float, float]]) -> float | None:
    """Return the slope of samples of seconds and bytes after the time to settle, in MB a minute."""
    settled = [(at, resident) for at, resident in samples if at >= samples[0][0] + SETTLING]
    if len(settled) < 2 or settled[-1][0] - settled[0][0] < _WATCHED:
        return None
    seconds, sizes = zip(*settled, strict=True)
    return linear_regression(seconds, sizes).slope * 60 / 1e6


def _resident(pid: int) -> float | None:
    try:
        return float(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return None
