"""How long tasks take: what a tenant is charged when a task starts, before anybody knows. Pure.

The more is known the nearer: the tenant's own tasks of this kind, else everybody's tasks of this kind, else all
tasks. Each is a running mean in which the latest task counts a fifth.
"""

from __future__ import annotations

from typing import Final

_SMOOTHING: Final = 0.2
_FADING: Final = 0.99
"""How the longest of a kind is forgotten, by each task of it."""
_WIDELY: Final = 10
"""Times the mean that a task takes at least which differs widely."""
_ENOUGH: Final = 20
"""Tasks of a kind after which something is known of it."""
_LITTLE: Final = 0.1
"""Seconds that no share suffers from."""


class Estimates:
    """Running means of task seconds.

    Args:
        first: the estimate in seconds while nothing is known.
    """

    def __init__(self, first: float) -> None:
        self.overall = first
        """Seconds of a task of any kind and tenant."""
        self._known = False
        self._kinds: dict[str, float] = {}
        self._longest: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def of(self, own: dict[str, float], kind: str) -> float:
        """Return the estimated seconds of a tenant's next task of a kind.

        Args:
            own: the tenant's own means by kind.
            kind: the kind of task, such as its name.
        """
        return own.get(kind) or self._kinds.get(kind) or self.overall

    def is_sure(self, kind: str) -> bool:
        """Tell whether everybody's tasks of a kind take about the same, or so little that it does not matter."""
        return self._counts.get(kind, 0) >= _ENOUGH and self._longest[kind] <= max(
            _WIDELY * self._kinds[kind], _LITTLE
        )

    def learn(self, own: dict[str, float], kind: str, seconds: float) -> None:
        """Take in what a task has taken."""
        _learn(own, kind, seconds)
        _learn(self._kinds, kind, seconds)
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._longest[kind] = max(seconds, _FADING * self._longest.get(kind, 0.0))
        self.overall = _mean(self.overall, seconds) if self._known else seconds
        self._known = True


def _learn(means: dict[str, float], kind: str, seconds: float) -> None:
    mean = means.get(kind)
    means[kind] = seconds if mean is None else _mean(mean, seconds)


def _mean(mean: float, seconds: float) -> float:
    return mean + _SMOOTHING * (seconds - mean)
