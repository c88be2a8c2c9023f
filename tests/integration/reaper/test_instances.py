"""Several reapers, and dead ones."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from support.reaping import ServedTenant, meanwhile, queues, reasons
from support.workers import environment
from taketurns.reaper.reaper import ROLE, Reaper, ReaperReport

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

RUN_FOREVER = """
from threading import Event
from support.shop import turns
from taketurns.reaper.service import ReaperService  # noqa: PLC0415
ReaperService(turns).run_forever(Event())
"""


def test_of_two_reapers_one_is_active(turns: TakeTurns) -> None:
    """The first reaper keeps the role from run to run until it resigns."""
    first, second = Reaper(turns), Reaper(turns)
    assert first.run_once().active
    turns.publisher.ensure("acme")
    assert not second.run_once().active
    assert queues(turns) == {"acme"}
    first.resign()
    assert second.run_once().removed == ("acme",)
    assert not first.run_once().active


def test_two_reapers_at_once_remove_each_queue_once(turns: TakeTurns) -> None:
    """Two that start at the same moment don't both act."""
    for n in range(20):
        turns.publisher.ensure(f"t{n}")
    together = threading.Barrier(2)
    reports: list[ReaperReport] = []

    def run() -> None:
        reaper = Reaper(turns)
        together.wait()
        reports.append(reaper.run_once())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.active for report in reports) == [False, True]
    assert sum(len(report.removed) for report in reports) == 20
    assert queues(turns) == set()


def test_a_reaper_that_lost_the_role_stops_at_once(turns: TakeTurns, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reaper that was replaced while it drained removes nothing and undoes its drain."""
    turns.publisher.ensure("a")
    turns.publisher.ensure("b")
    reaper = Reaper(turns)

    def replace_it() -> None:
        turns.store.call(lambda redis: redis.delete(turns.store.key("lead", ROLE)))
        assert turns.registry.lead(ROLE, "another", 60)

    meanwhile(monkeypatch, reaper, "_workers.drain", after=replace_it)
    assert set(reasons(reaper.run_once()).values()) == {"another reaper has taken over"}
    assert queues(turns) == {"a", "b"}
    assert turns.registry.draining() == set()


def test_a_drain_that_took_too_long_removes_nothing(
    turns: TakeTurns, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """Once the draining marks have expired, workers may serve the queue again, so it stays."""
    turns.publisher.ensure("acme")
    reaper = Reaper(turns)
    reaper._settings = reaper._settings.model_copy(update={"drain_expiry": 0.2})
    meanwhile(
        monkeypatch,
        reaper,
        "_workers.drain",
        after=lambda: eventually(lambda: turns.registry.draining() == set()),
    )
    assert reasons(reaper.run_once()) == {"acme": "its draining mark is gone"}
    assert queues(turns) == {"acme"}


def test_stopping_ends_a_run_after_the_queue_in_hand(
    turns: TakeTurns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reaper that is told to stop removes nothing more and leaves nothing drained."""
    for n in range(4):
        turns.publisher.ensure(f"t{n}")
    reaper, stop = Reaper(turns), threading.Event()
    meanwhile(monkeypatch, reaper, "_management.delete_queue", after=stop.set)
    report = reaper.run_once(stop=stop)
    assert report.removed == ("t0",)
    assert reasons(report)["t3"] == "the reaper is stopping"
    assert turns.registry.draining() == set()


def test_a_killed_reaper_leaves_nothing_drained_for_long(
    acme: ServedTenant, turns: TakeTurns, settings: Settings, eventually: Eventually
) -> None:
    """When a reaper dies while it drains, marks and drain expire by themselves and the tenant is served again."""
    variables = environment(
        settings,
        TAKETURNS_REAPER_IDLE_TIME="0",
        TAKETURNS_REAPER_CONFIRM_TIMEOUT="4",
        TAKETURNS_REAPER_DRAIN_EXPIRY="5",
    )
    with acme.worker.silent():  # the drain can't be confirmed
        reaper = subprocess.Popen([sys.executable, "-c", RUN_FOREVER], env=variables)  # our own
        try:
            eventually(lambda: turns.registry.draining() == {"acme"}, within=20)
        finally:
            reaper.kill()
            reaper.wait()
    eventually(lambda: turns.registry.draining() == set())
    acme.submit("second")
    acme.has_run("first", "second")
    assert queues(turns) == {"acme"}
