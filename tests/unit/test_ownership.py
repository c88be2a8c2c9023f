"""Which workers own a queue."""

from __future__ import annotations

from collections import Counter

from taketurns.worker.ownership import LOWEST, OWNERS, owners_of_each, ranks

QUEUES = [f"usersequence_{number}" for number in range(5000)]
WORKERS = [f"celery@host-{number}" for number in range(20)]


def shared_out(workers: list[str]) -> dict[str, set[str]]:
    return {worker: set(ranks(QUEUES, worker, workers, OWNERS)) for worker in workers}


def test_few_queues_are_everybodys() -> None:
    """Up to the number of consumers that a worker keeps, all workers own every queue; beyond it two do."""
    assert owners_of_each(1000, 20, most=1000) == 20
    assert owners_of_each(1001, 20, most=1000) == OWNERS
    assert owners_of_each(1001, 1, most=1000) == 1
    assert ranks(QUEUES, WORKERS[0], WORKERS, len(WORKERS)).keys() == set(QUEUES)


def test_every_queue_has_two_owners_and_every_worker_its_part() -> None:
    """All workers find the same owners, and none has much more or less than its part."""
    owners = shared_out(WORKERS)
    assert set(Counter(queue for queues in owners.values() for queue in queues).values()) == {OWNERS}
    part = OWNERS * len(QUEUES) / len(WORKERS)
    assert all(0.8 * part < len(queues) < 1.2 * part for queues in owners.values())


def test_one_worker_less_moves_its_own_queues_only() -> None:
    """What the others own they keep; what the lost one owned is spread over all of them."""
    before, after = shared_out(WORKERS), shared_out(WORKERS[1:])
    gained = {worker: after[worker] - before[worker] for worker in WORKERS[1:]}
    assert all(before[worker] <= after[worker] for worker in WORKERS[1:])
    assert sum(len(queues) for queues in gained.values()) == len(before[WORKERS[0]])
    assert all(gained.values())


def test_the_owners_of_a_queue_have_an_order() -> None:
    """Each of them has another rank, and every worker is the first of its part of the queues."""
    of_each = [ranks(QUEUES, worker, WORKERS[:3], 3) for worker in WORKERS[:3]]
    assert all(sorted(found[queue] for found in of_each) == [0, 1, 2] for queue in QUEUES)
    firsts = [sum(rank == 0 for rank in found.values()) for found in of_each]
    assert all(0.8 * len(QUEUES) / 3 < count < 1.2 * len(QUEUES) / 3 for count in firsts)
    assert max(ranks(QUEUES, WORKERS[0], WORKERS, len(WORKERS)).values()) == LOWEST
