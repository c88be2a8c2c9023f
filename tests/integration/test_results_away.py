"""A result backend that is away costs results, and neither tasks nor slots."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from support.workers import worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.workers import Ledger
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

NOWHERE = "redis://127.0.0.1:1/0"  # a port that nothing listens at


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_tasks_run_once_while_results_can_not_be_stored(
    pool: str, shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """More tasks than slots, half of which fail: each ends and frees its slot, and only those are dead letters."""
    with worker(settings, tmp_path, "-P", pool, "-c", "2", SHOP_RESULTS=NOWHERE) as running:
        for number in range(6):
            shop.work.apply_async((f"work-{number}",), tenant="acme")
            shop.fail.apply_async((f"fail-{number}",), tenant="acme")
        eventually(lambda: len(ledger) == 12, within=20)
        eventually(lambda: shop.turns.dead_letters.count() == 6, within=20)
        eventually(lambda: shop.turns.management.queue("usersequence_acme").unacknowledged == 0)
        assert set(Counter(ledger.labels()).values()) == {1}
        assert running.output.count("is not in the result backend") <= 4
        assert running.stop() == 0
    assert {letter.cause for letter in shop.turns.dead_letters.list()} == {"failed"}
