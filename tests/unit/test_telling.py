"""What other workers are told, each of it once."""

from __future__ import annotations

from taketurns.registry.usage import Spent
from taketurns.worker.telling import Telling


def test_a_lot_is_told_until_it_arrives() -> None:
    """The same number stands for the same content, and what came meanwhile is added up for the next."""
    telling = Telling("run")
    telling.gather({"a": Spent(100, 1)})
    assert telling.next_lot() == {"a": Spent(100, 1)}
    first = telling.lot
    telling.gather({"a": Spent(30, 1), "b": Spent(5, 1)})
    assert telling.next_lot() is None
    telling.gather({"a": Spent(-10, 0)})
    assert telling.lot == first
    telling.arrived()
    assert telling.next_lot() == {"a": Spent(20, 1), "b": Spent(5, 1)}
    assert telling.lot[0] != first[0]
    telling.arrived()
    assert telling.next_lot() == {}


def test_who_is_alone_keeps_nothing() -> None:
    """What was not told is forgotten, and the next lot begins with what is gathered then."""
    telling = Telling("run")
    telling.gather({"a": Spent(100, 1)})
    telling.next_lot()
    telling.gather({"b": Spent(100, 1)})
    telling.forget()
    telling.gather({"c": Spent(100, 1)})
    assert telling.next_lot() == {"c": Spent(100, 1)}


def test_another_process_of_the_same_worker_has_other_numbers() -> None:
    """Else its first report would be taken for one that has been added."""
    numbers = set()
    for run in ("one", "two"):
        telling = Telling(run)
        telling.next_lot()
        numbers.add(telling.lot[0])
    assert len(numbers) == 2
