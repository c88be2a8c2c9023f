"""In which order backlogs are merged into one queue. Pure: no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def in_turns(waiting: Mapping[str, int]) -> Iterator[str]:
    """Yield each name as often as it has messages waiting, in rounds, so that nobody's come behind all of another's.

    Args:
        waiting: messages by the name of their queue.
    """
    left = {name: count for name, count in waiting.items() if count > 0}
    while left:
        yield from left
        left = {name: count - 1 for name, count in left.items() if count > 1}
