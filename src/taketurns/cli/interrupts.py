"""Ctrl-C before a command has begun its work."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERRUPTED: Final = 130
"""The exit code of what was ended by Ctrl-C."""


@contextmanager
def quiet_interrupt() -> Iterator[None]:
    """Let Ctrl-C end the process at once and without a word, while it does nothing but import modules.

    A KeyboardInterrupt would leave some import as a traceback, or be printed and lost where nothing can raise.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # ignored, as in a script's background, or somebody else's
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
