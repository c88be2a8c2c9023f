"""The app's ordinary tasks beside those of tenants, in one worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.workers import worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.workers import Ledger
    from taketurns.settings import Settings

    Eventually = Callable[..., None]


@pytest.mark.parametrize(("pool", "slots"), [("prefork", 1), ("prefork", 2), ("threads", 2), ("solo", 1)])
def test_ordinary_tasks_and_tenants_have_half_of_the_slots_each(
    pool: str,
    slots: int,
    shop: Any,
    settings: Settings,
    ledger: Ledger,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """While both wait; then who is left has all of them."""
    with worker(settings, tmp_path, "-P", pool, "-c", str(slots)):
        for number in range(40):
            shop.ordinary.delay(f"o{number}", 0.05)
        for number in range(20):
            shop.work.apply_async((f"t{number}", 0.05), tenant="acme")
        eventually(lambda: len(ledger) == 60, within=40)
    labels = ledger.labels()
    last = labels.index("t19")
    since = next(place for place, label in enumerate(labels) if label == "t0")
    beside = [label[0] for label in labels[since : last + 1]]
    assert 14 <= beside.count("o") <= 26, "".join(label[0] for label in labels)
    assert since < 30


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_an_ordinary_task_that_can_not_begin_gives_its_slot_back_and_comes_again(
    pool: str, shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    with worker(settings, tmp_path, "-P", pool, "-c", "1") as running:
        shop.stumbling.delay("stumbling")
        shop.ordinary.delay("ordinary")
        shop.work.apply_async(("tenant",), tenant="acme")
        eventually(lambda: len(ledger) == 3, within=30)
        assert ledger.labels()[-1] == "stumbling"
        assert "can't begin" in running.output
