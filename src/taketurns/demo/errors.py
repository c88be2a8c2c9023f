"""The demo's own error."""

from __future__ import annotations

from taketurns.errors import TaketurnsError


class DemoFailed(TaketurnsError):
    """The demo could not be played; the message says why and what to do."""
