"""A team's weight function in a real worker: shares by the time stamps that the tasks write."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from support.weights import TOLD
from support.workers import worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.workers import Ledger
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

LATELY = 3.0
"""Seconds over which shares are measured."""


def shares(ledger: Ledger, seconds: float = LATELY) -> dict[str, float]:
    """Return each tenant's fraction of the slot seconds of the last so many seconds."""
    rows = ledger.rows()
    since = max((row["ended"] for row in rows), default=0.0) - seconds
    used: dict[str, float] = {}
    for row in rows:
        if (had := row["ended"] - max(row["started"], since)) > 0:
            used[row["tenant"]] = used.get(row["tenant"], 0.0) + had
    return {tenant: had / sum(used.values()) for tenant, had in used.items()}


def test_shares_follow_the_function(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """At once for the backlog, and again when the metadata change; where it raises, the set weight holds."""
    registry = shop.turns.registry
    registry.update("plain")
    registry.update("pro", metadata={"factor": 3})
    registry.update("raises", weight=2, metadata={"fails": "no such plan"})
    for number in range(1000):
        for tenant in ("plain", "pro", "raises"):
            shop.work.apply_async((f"{number}", 0.02), tenant=tenant)

    def are(**weights: float) -> bool:
        expected = {tenant: pytest.approx(weight / 6, rel=0.1) for tenant, weight in weights.items()}
        return shares(ledger) == expected

    with worker(settings, tmp_path, "-P", "threads", "-c", "2", SHOP_WEIGHS="1") as running:
        eventually(lambda: are(plain=1, pro=3, raises=2), within=20)
        redis = Redis.from_url(settings.redis.redis_url, decode_responses=True)

        def is_told() -> bool:
            told = redis.hgetall(TOLD.format(settings.redis.redis_prefix))
            had = shares(ledger, 60)
            return {tenant: float(share) for tenant, share in told.items()} == pytest.approx(had, abs=0.05)

        eventually(is_told)
        redis.close()
        registry.update("pro", metadata={"factor": 0.2})
        registry.update("plain", metadata={"factor": 3.8})
        eventually(lambda: are(plain=3.8, pro=0.2, raises=2), within=20)
        assert running.output.count("the weight function failed") == 1
        assert "for tenant raises" in running.output
        registry.update("raises", metadata={"factor": 0.5})
        eventually(lambda: "the weight function works again" in running.output)
        running.process.kill()  # the rest of the tasks would take a while


def test_a_function_that_hangs_harms_nothing(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """The worker gives signs of life, serves everybody, also who is new, and stops when it is told to."""
    shop.turns.registry.update("slow", metadata={"sleeps": 600})
    with worker(settings, tmp_path, "-P", "threads", "-c", "2", SHOP_WEIGHS="1") as running:
        for number in range(400):
            shop.work.apply_async((f"{number}", 0.1), tenant="slow")
        eventually(lambda: "has not returned" in running.output, within=20)
        submitted = time.time()
        shop.work.apply_async(("new",), tenant="new")
        eventually(lambda: "new" in ledger.labels())
        (row,) = (row for row in ledger.rows() if row["label"] == "new")
        assert row["started"] - submitted < 1
        status = shop.turns.status()
        assert (status.silent, [each.name for each in status.workers]) == ([], [running.name])
        assert status.workers[0].loop_lag < 1
        assert running.stop(within=10) == 0
