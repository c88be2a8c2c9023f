"""Signals that end a process, put off while it must not be disturbed."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def undisturbed() -> Iterator[Callable[[], bool]]:
    """Have SIGTERM and SIGINT act at the end of the block; lend a function that tells whether one has come.

    Beat's own handlers close everything and raise SystemExit, in the midst of a submission or of a call to Redis.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # no handler runs here
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        signal.signal(number, lambda received, _: came.append(received))
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if came:
        signal.raise_signal(came[0])
