"""Which workers keep a consumer on a tenant queue, when there are too many queues for all to keep one on each. Pure.

Rendezvous hashing (Thaler, Ravishankar: "A Name-Based Mapping Scheme for Rendezvous", 1996): each worker has a score
for each queue, and the highest few own it. Every worker finds the same answer from the same names, and one that
comes or goes moves only the queues that it gets or had.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

OWNERS: Final = 2
"""So that a queue still has a consumer when one of its owners dies."""

LOWEST: Final = 3
"""The rank from which on workers are not told apart."""

_GOLDEN: Final = 0x9E3779B97F4A7C15
_MASK: Final = (1 << 64) - 1


def owners_of_each(queues: int, workers: int, most: int) -> int:
    """Return how many workers own each queue: all of them while no worker has more than ``most`` consumers, else two.

    More owners would not make the shares more exact but less: they run tasks of the same tenant at the same moment,
    before they hear of each other.

    Args:
        queues: the number of tenant queues.
        workers: the number of live workers.
        most: consumers that a worker keeps on all queues.
    """
    return workers if queues <= most else min(workers, OWNERS)


def ranks(queues: Iterable[str], worker: str, workers: Collection[str], owners: int) -> dict[str, int]:
    """Return those of the queues that a worker owns, each with how many other owners come before it.

    Ranks above [LOWEST][taketurns.worker.ownership.LOWEST] count as that.

    Args:
        queues: names of queues.
        worker: the worker, one of ``workers``.
        workers: the names of all live workers.
        owners: how many own each queue; see ``owners_of_each``.
    """
    own = _hash(worker)
    others = [_hash(each) for each in workers if each != worker]
    found = ((queue, _rank(_hash(queue), own, others)) for queue in queues)
    everybody = owners >= len(workers)
    return {queue: rank for queue, rank in found if everybody or rank < owners}


def _rank(queue: int, own: int, others: list[int]) -> int:
    score = _score(queue, own)
    higher = 0
    for other in others:
        if _score(queue, other) > score:
            higher += 1
            if higher == LOWEST:
                break
    return higher


def _score(queue: int, worker: int) -> int:
    mixed = (queue ^ worker) * _GOLDEN & _MASK  # Fibonacci hashing, twice, to spread all bits over all
    return (mixed ^ mixed >> 32) * _GOLDEN & _MASK


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest())
