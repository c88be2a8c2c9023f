"""The one error of the private nodes."""

from __future__ import annotations

from taketurns.errors import TaketurnsError


class NodesUnavailable(TaketurnsError):
    """The private nodes could not be started or stopped; the message says why and what to do."""
