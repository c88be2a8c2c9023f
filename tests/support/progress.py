"""What a long run says while it works."""

from __future__ import annotations

import time

_BEGAN = time.monotonic()


def elapsed() -> float:
    """Return the seconds since it began."""
    return time.monotonic() - _BEGAN


def say(text: str) -> None:
    """Print a line with the time since the start."""
    minutes, seconds = divmod(int(elapsed()), 60)
    print(f"{minutes:3d}:{seconds:02d}  {text}", flush=True)
