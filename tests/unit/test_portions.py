"""How a worker's loop takes many queues in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taketurns.worker.portions import PORTION, UNCONFIRMED, in_portions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Loop:
    """A loop that runs what was scheduled when it is told to, and a broker that confirms when it is told to."""

    def __init__(self) -> None:
        self.scheduled: list[Callable[[], None]] = []
        self.taken: list[int] = []
        self.unconfirmed = 0
        self.wanted = True
        self.done = False

    def begin(self, count: int) -> None:
        in_portions(
            range(count),
            self.take,
            unconfirmed=lambda: self.unconfirmed,
            call_later=lambda _, callback: self.scheduled.append(callback),
            then=self.end,
        )

    def take(self, portion: Sequence[int]) -> bool:
        self.taken += portion
        self.unconfirmed += len(portion)
        return self.wanted

    def end(self) -> None:
        self.done = True

    def turn(self) -> None:
        for callback in [self.scheduled.pop() for _ in self.scheduled[:]]:
            callback()


def test_the_next_portion_waits_until_the_last_is_confirmed_but_for_some() -> None:
    """Otherwise the broker would answer what is asked of it meanwhile only after all of them."""
    loop = Loop()
    loop.begin(2 * PORTION + 1)
    for _ in range(3):
        loop.turn()
        assert len(loop.taken) == PORTION
    loop.unconfirmed = UNCONFIRMED
    loop.turn()
    assert len(loop.taken) == 2 * PORTION
    loop.unconfirmed = 0
    loop.turn()
    assert loop.taken == list(range(2 * PORTION + 1))
    assert loop.done
    assert not loop.scheduled


def test_it_ends_also_after_a_whole_portion_and_of_nothing() -> None:
    """A number of queues that the portions divide evenly is no special case."""
    for count in (0, PORTION):
        loop = Loop()
        loop.begin(count)
        loop.unconfirmed = 0
        loop.turn()
        assert loop.done
        assert len(loop.taken) == count


def test_nothing_follows_what_is_no_longer_wanted() -> None:
    """After a lost connection what was found on the old one is not served on the new one."""
    loop = Loop()
    loop.wanted = False
    loop.begin(2 * PORTION)
    assert not loop.scheduled
    assert not loop.done
