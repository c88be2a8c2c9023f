"""Names that several processes know are counted once, without all of them being told."""

from __future__ import annotations

import pytest

from taketurns.sample import MOST, count, sample_of


def names(start: int, stop: int) -> list[str]:
    return [f"tenant-{number}" for number in range(start, stop)]


def anything(_: str) -> bool:
    return True


def test_few_names_are_counted_exactly() -> None:
    """Each once, whoever knows them, and only those that count."""
    samples = [
        sample_of(names(0, MOST)),
        sample_of(names(500, 700)),
        sample_of(names(900, 1900)),
        sample_of([]),
    ]
    assert count(samples, anything) == 1900
    assert count(samples, lambda name: name.endswith("0")) == 190
    assert count([], anything) == 0


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_many_names_are_estimated(workers: int) -> None:
    """However much of what the others know each one knows, within three times 3 %; the answers stay short."""
    everything = names(0, 20_000)
    same = [sample_of(everything) for _ in range(workers)]
    parts = [sample_of(everything[number::workers]) for number in range(workers)]
    mixed = [sample_of(everything), *(sample_of(everything[:number]) for number in range(workers))]
    for samples in (same, parts, mixed):
        assert max(len(sample.names) for sample in samples) <= MOST
        assert count(samples, anything) == pytest.approx(20_000, rel=0.09)
        assert count(samples, lambda name: int(name[7:]) < 5000) == pytest.approx(5000, rel=0.2)


def test_one_more_than_is_told() -> None:
    """Just above the limit it is still about right."""
    assert count([sample_of(names(0, MOST + 1))], anything) == pytest.approx(MOST, rel=0.09)
