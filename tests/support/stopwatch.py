"""How long something took, less what the machine had it stand still for: its cores are others' too."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROMISED: Final = 5.0
"""Seconds within which it is said, over HTTP and by the library, that RabbitMQ is away."""

_BEAT: Final = 0.02


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Yield what tells the seconds since then, without those by which a thread that only sleeps was late."""
    began = time.monotonic()
    ended = threading.Event()
    late = 0.0

    def beat() -> None:
        nonlocal late
        due = began
        while not ended.wait(_BEAT):
            due += _BEAT
            behind = time.monotonic() - due
            late += behind
            due += behind

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield lambda: time.monotonic() - began - late
    finally:
        ended.set()
        thread.join()
