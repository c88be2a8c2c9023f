"""How a worker's slots are parted between ordinary tasks and those of tenants."""

from __future__ import annotations

from collections import deque

import pytest

from taketurns.worker.halves import Halves


class Slots:
    """Slots in which tasks run; each step starts what may start, and then ends what began first."""

    def __init__(self, slots: int, ordinary: int, tenants: int) -> None:
        self.slots, self.ordinary, self.tenants = slots, ordinary, tenants
        self.began: list[str] = []
        self.running: deque[str] = deque()
        self._halves = Halves()

    def step(self) -> None:
        left = self._free()
        if self.ordinary:
            left = self._halves.left_for_tenants(self.slots, left, self.running.count("o"))
        for _ in range(min(left, self.tenants)):
            self.tenants -= 1
            self._halves.tenant_began()
            self._begin("t")
        while (
            self.ordinary
            and self._free() > 0
            and self._halves.ordinary_may_begin(
                self.slots, self.running.count("o"), tenants_wait=self.tenants > 0
            )
        ):
            self.ordinary -= 1
            self._halves.ordinary_began()
            self._begin("o")
        if self.running:
            self.running.popleft()

    def _free(self) -> int:
        return self.slots - len(self.running)

    def _begin(self, whose: str) -> None:
        self.began.append(whose)
        self.running.append(whose)


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 7])
def test_each_side_has_half_while_both_wait(slots: int) -> None:
    """Of an odd number of slots the odd one goes from one to the other."""
    all_slots = Slots(slots, 1000, 1000)
    for _ in range(400):
        all_slots.step()
    begun = all_slots.began[-200:]
    assert 96 <= begun.count("t") <= 104


@pytest.mark.parametrize(("ordinary", "tenants", "whose"), [(9, 0, "o"), (0, 9, "t")])
def test_who_waits_alone_has_all_slots(ordinary: int, tenants: int, whose: str) -> None:
    all_slots = Slots(3, ordinary, tenants)
    all_slots.step()
    assert all_slots.began == [whose] * 3


@pytest.mark.parametrize(("first", "later"), [("ordinary", "tenants"), ("tenants", "ordinary")])
def test_those_that_come_later_have_the_slots_that_free_until_they_have_their_half(
    first: str, later: str
) -> None:
    all_slots = Slots(4, 0, 0)
    setattr(all_slots, first, 100)
    all_slots.step()
    setattr(all_slots, later, 50)
    for _ in range(3):
        all_slots.step()
    assert all_slots.began[4:6] == [later[0]] * 2
    assert all_slots.running.count(later[0]) == 2


def test_more_than_their_half_leaves_nothing_rather_than_less() -> None:
    """After the number of slots has shrunk, say."""
    assert Halves().left_for_tenants(4, -1, 3) == 0
