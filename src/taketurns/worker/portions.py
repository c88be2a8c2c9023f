"""Many things taken in by the worker's loop in portions, no faster than the broker confirms what each brings."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")

PORTION: Final = 100
"""Queues of one loop pass: so many take it a few milliseconds."""

UNCONFIRMED: Final = 50
"""Subscriptions under way up to which the next portion follows.

All that the broker has still to do for them it does before what is sent now. With 10,000 sent at once the fetches of
running turns waited behind them: slots stood free for two thirds of the time, 0.2 s at a stretch.
"""

_PAUSE = 0.002  # seconds for the loop to see to other things in between


def in_portions(
    things: Iterable[T],
    take: Callable[[Sequence[T]], bool],
    *,
    unconfirmed: Callable[[], int],
    call_later: Callable[[float, Callable[[], None]], object],
    then: Callable[[], None],
) -> None:
    """Take the first portion now, and the others bit by bit.

    Args:
        things: what to take in.
        take: takes a portion in; tells whether that is still wanted, else nothing follows.
        unconfirmed: tells how much of what was asked of the broker is not confirmed yet.
        call_later: schedules a call after so many seconds.
        then: called when all is taken in.
    """
    left = iter(things)

    def go_on() -> None:
        if unconfirmed() > UNCONFIRMED:
            call_later(_PAUSE, go_on)
            return
        portion = list(islice(left, PORTION))
        if not take(portion):
            return
        if len(portion) == PORTION:
            call_later(_PAUSE, go_on)
        else:
            then()

    go_on()
