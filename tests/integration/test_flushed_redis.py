"""A Redis that loses everything under work: what is as before within seconds, and what is not."""

from __future__ import annotations

import gc
import json
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from support.reaping import queues, reasons
from support.workers import worker
from taketurns.reaper.reaper import Reaper
from taketurns.reaper.recover import Recoverer
from taketurns.services.identity import Identity
from taketurns.services.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

LIMITED = 30
BUSY = 1000
"""Tasks of 20 ms for two slots: some wait yet when a slow machine comes to look at the queues."""


class Ledger:
    """The ledger of ``support.shop``, which outlives the flush."""

    def __init__(self, settings: Settings) -> None:
        self._redis = Redis.from_url(settings.redis.redis_url)
        self._key = f"{settings.redis.redis_prefix}-ledger"
        self._kept: list[dict[str, Any]] = []

    def flush(self) -> None:
        """Have Redis lose everything."""
        with self._redis.pipeline() as pipe:  # in one step, or the rows between the two would be lost
            pipe.lrange(self._key, 0, -1)
            pipe.flushall()
            rows, _ = pipe.execute()
        self._kept += map(json.loads, rows)

    def rows(self, tenant: str) -> list[dict[str, Any]]:
        rows = [*self._kept, *map(json.loads, self._redis.lrange(self._key, 0, -1))]
        return [row for row in rows if row["tenant"] == tenant]

    def labels(self, tenant: str) -> Counter[str]:
        return Counter(row["label"] for row in self.rows(tenant))


# What a client had open to a Redis that was ended may be garbage before anybody closes it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def garbage() -> Iterator[None]:
    """Collect it here, so that no other test is blamed for it."""
    yield
    gc.collect()


@pytest.fixture
def private_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test's own, as ``taketurns services`` runs it."""
    identity = Identity.prepare(tmp_path, RedisServer.ports)
    server = RedisServer(tmp_path, identity)
    server.start()
    yield server
    server.request_stop()
    assert server.wait_until_gone()


@pytest.fixture
def settings(settings: Settings, private_redis: RedisServer, tmp_path: Path) -> Settings:
    """Lead to this Redis; every tenant with an activity record counts as idle at once."""
    identity = Identity.read(tmp_path)
    assert identity is not None
    return replace(
        settings,
        redis=settings.redis.model_copy(update={"redis_url": identity.redis_url, "redis_retry_after": 0.1}),
        reaper=settings.reaper.model_copy(update={"idle_time": 0.0}),
    )


def once(prefix: str, count: int) -> Counter[str]:
    return Counter(f"{prefix}{n}" for n in range(count))


def test_after_a_flush_all_tasks_run_and_all_but_operators_settings_is_as_before(
    shop: Any, turns: TakeTurns, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """Workers, configured limits and activity come back by themselves; a pause and a rate of operators do not."""
    ledger = Ledger(settings)
    turns.registry.update("paused", paused=True)
    turns.registry.update("slow", rate_limit="1/1h")
    with worker(settings, tmp_path, "-P", "threads", "-c", "2") as running:
        for n in range(3):
            shop.work.apply_async((f"p{n}",), tenant="paused")
            shop.work.apply_async((f"s{n}",), tenant="slow")
        for n in range(BUSY):
            shop.work.apply_async((f"b{n}", 0.02), tenant="busy")
        for n in range(LIMITED):
            shop.limited.apply_async((f"l{n}",), tenant="limited")
        eventually(lambda: len(ledger.rows("busy")) > 20 and ledger.labels("slow"))
        assert not ledger.rows("paused")
        assert ledger.labels("slow") == once("s", 1)

        shop.work.apply_async(("late0",), tenant="late", countdown=6)
        flushed = time.time()
        ledger.flush()
        eventually(lambda: turns.registry.workers() == [running.name], within=5)
        reaper, recoverer = Reaper(turns), Recoverer(turns)
        report = reaper.run_once()
        assert not {"late", "busy", "limited"}.intersection(report.removed)
        assert reasons(report)["late"] == "no activity record: its idle time begins now"
        assert set(turns.registry.activity()) >= {"late", "busy", "limited"}
        # Nobody knows any more that a delayed task needs this queue; it takes the way through the lost queue.
        eventually(lambda: "late" in reaper.run_once().removed, within=20)
        eventually(lambda: recoverer.run_once() and ledger.labels("late") == once("late", 1), within=30)

        eventually(lambda: ledger.labels("busy") == once("b", BUSY), within=60)
        eventually(lambda: ledger.labels("limited") == once("l", LIMITED), within=30)
        # The operators' settings are gone, so these run now.
        eventually(lambda: ledger.labels("paused") == once("p", 3))
        eventually(lambda: ledger.labels("slow") == once("s", 3))
        after = [row["started"] for row in ledger.rows("limited") if row["started"] > flushed]
        assert (
            max(after) - flushed > (len(after) - 2) * 0.095
        )  # 10/1s, and one start for which the flush forgot
        eventually(lambda: reaper.run_once() and not queues(turns), within=30)


def test_operators_settings_survive_a_restart(turns: TakeTurns, private_redis: RedisServer) -> None:
    """The Redis of ``taketurns services`` keeps what was written."""
    turns.registry.update("acme", rate_limit="1/1h", paused=True)
    private_redis.request_stop()
    assert private_redis.wait_until_gone()
    private_redis.start()
    settings = turns.registry.get("acme")
    assert (settings.rate_limit, settings.paused) == ("1/1h", True)
