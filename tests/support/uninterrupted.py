"""Cleaning up to the end, also when the interrupt comes in the midst of it."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def interrupt_on_signals() -> None:
    """Let both signals raise KeyboardInterrupt, also in a background job, where the shell has SIGINT ignored."""
    for signum in SIGNALS:
        signal.signal(signum, signal.default_int_handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put interrupts off until the block has ended.

    Raises:
        KeyboardInterrupt: one came meanwhile.
    """
    came: list[int] = []
    before = {signum: signal.signal(signum, lambda number, _: came.append(number)) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if came:
        raise KeyboardInterrupt
