"""Retries of real tasks: how often, after how long, and what comes after the last one."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from support.workers import worker
from taketurns.deadletters.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.workers import Ledger
    from taketurns.settings import Settings

    Eventually = Callable[..., None]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_task_is_tried_again_as_it_declares_or_as_its_submission_says(
    pool: str, shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    letters = shop.turns.dead_letters
    with worker(settings, tmp_path, "-P", pool, "-c", "2"):
        shop.insist.apply_async(("declared",), tenant="acme")
        shop.insist.apply_async(("never",), tenant="acme", max_retries=0)
        shop.insist.apply_async(
            ("often",), tenant="bolt", max_retries=5, retry_backoff=0.1, retry_backoff_max=0.1
        )
        shop.stubborn.apply_async(("celery",), tenant="bolt", max_retries=0)
        eventually(lambda: letters.count() == 4, within=20)
        shop.stubborn.apply_async(("after",), tenant="bolt")  # by its own count again, which is one
        eventually(lambda: letters.count() == 5, within=20)
    starts: dict[str, list[float]] = {}
    for row in ledger.rows():
        starts.setdefault(row["label"], []).append(row["started"])
    counts = {label: len(times) for label, times in starts.items()}
    assert counts == {"declared": 4, "never": 1, "often": 6, "celery": 1, "after": 2}
    waits = [later - earlier for earlier, later in pairwise(starts["declared"])]
    assert all(wait > least for wait, least in zip(waits, (0.2, 0.4, 0.5), strict=True)), waits
    attempts = {letter.body.split('"')[1]: letter.attempts for letter in letters.list()}
    assert attempts == counts

    letters.replay(Selection(task="support.shop.insist", tenant="bolt"))
    with worker(settings, tmp_path, "-P", pool, "-c", "2", name="w2"):
        eventually(lambda: ledger.labels().count("often") == 12, within=20)  # all its retries, once more
