"""Ctrl-C before a command has begun its work, and in the middle of it."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INTERRUPTED: Final = 130
"""The exit code of what was ended by Ctrl-C."""


@contextmanager
def quiet_interrupt(last_words: str = "") -> Iterator[None]:
    """Let Ctrl-C end the process at once, while it imports modules, looks or asks, and changes nothing.

    A KeyboardInterrupt would leave some import as a traceback, or be printed and lost where nothing can raise.

    Args:
        last_words: a line to write then; by default none.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # ignored, as in a script's background, or somebody else's
        yield
        return
    line = f"{last_words}\n".encode() if last_words else b""

    def end(*_: object) -> None:
        os.write(sys.stderr.fileno(), line)
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupted_between() -> Iterator[Callable[[], None]]:
    """Lend a function to call between two pieces of work: only there it raises KeyboardInterrupt after Ctrl-C.

    Before the first call, and the second time that it is pressed, Ctrl-C acts at once as ever.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # ignored, as in a script's background, or somebody else's
        yield lambda: None
        return
    begun = asked = False

    def note(*_: object) -> None:
        nonlocal asked
        if asked or not begun:
            raise KeyboardInterrupt
        asked = True

    def between() -> None:
        nonlocal begun
        begun = True
        if asked:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield between
    finally:
        signal.signal(signal.SIGINT, before)
