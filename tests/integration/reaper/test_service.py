"""The service in its loop: it reaps and recovers, and outlives what goes away."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from support import proxy
from support.publishing import installed
from support.reaping import lose, queues
from taketurns.reaper.recover import RecoverReport
from taketurns.reaper.service import ReaperService
from taketurns.records.lifecycle import Step
from taketurns.topology import LOST_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from taketurns import TakeTurns
    from taketurns.settings import Settings

    Eventually = Callable[..., None]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The service looks often and gives up soon."""
    return replace(
        settings,
        reaper=settings.reaper.model_copy(update={"interval": 0.1, "recover_interval": 0.1}),
        broker=settings.broker.model_copy(update={"management_timeout": 0.5, "publish_timeout": 0.5}),
        redis=settings.redis.model_copy(update={"redis_retry_after": 0.1}),
    )


@contextmanager
def running(turns: TakeTurns) -> Iterator[threading.Thread]:
    stop = threading.Event()
    thread = threading.Thread(target=ReaperService(turns).run_forever, args=(stop,))
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(timeout=20)
        assert not thread.is_alive()


def warnings(caplog: pytest.LogCaptureFixture, beginning: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith(beginning)]


def test_one_run_does_both(turns: TakeTurns, channel: BlockingChannel) -> None:
    """A single run sends lost tasks on and removes what is idle, and another reaper may follow at once."""
    turns.publisher.ensure("idle")
    lose(channel, "lost")
    report = ReaperService(turns).run_once()
    assert report.recovered == RecoverReport(recovered=1)
    assert report.reaped.removed == ("idle",)
    assert queues(turns) == {"lost"}
    assert ReaperService(turns).run_once().reaped.active


def test_it_lets_go_of_what_waited_for_a_task_that_has_ended(
    turns: TakeTurns, work: Any, eventually: Eventually
) -> None:
    """Nobody else does: the parent's worker died after it had recorded the end."""
    parent = work.apply_async(("parent",), tenant="acme").id
    assert work.apply_async(("child",), tenant="acme", depends_on=[parent]).blocked
    turns.records.write({"acme": [Step(parent, "completed", time.time())]})
    with running(turns):
        eventually(lambda: turns.publisher.waiting("usersequence_acme") == 2)
        eventually(lambda: turns.management.names("usersequence.after.") == [])


def test_a_dry_run_leaves_lost_tasks_alone(turns: TakeTurns, channel: BlockingChannel) -> None:
    """A dry run neither removes nor recovers anything."""
    turns.publisher.ensure("idle")
    lose(channel, "lost")
    report = ReaperService(turns).run_once(dry_run=True)
    assert report.recovered is None
    assert [(each.tenant, each.remove) for each in report.reaped.decisions] == [("idle", True)]
    assert queues(turns) == {"idle"}
    lost = turns.management.queue(LOST_QUEUE)
    assert lost is not None
    assert lost.ready == 1


def test_the_loop_does_both_and_stops_when_told(
    turns: TakeTurns, channel: BlockingChannel, eventually: Eventually
) -> None:
    """Idle queues go and lost tasks come back while it runs; it resigns when it stops."""
    turns.publisher.ensure("idle")
    with running(turns):
        eventually(lambda: queues(turns) == set())
        lose(channel, "lost")
        eventually(lambda: queues(turns) == {"lost"})
    assert turns.registry.lead("reaper", "another", 1)


def test_it_tells_its_start_and_its_role(
    turns: TakeTurns, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    """One line at the start says what it does and how often, and one whenever it becomes active or stands by."""
    caplog.set_level(logging.INFO)

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "taketurns.reaper.service"]

    assert turns.registry.lead("reaper", "another", 60)
    with running(turns):
        eventually(lambda: len(told()) == 2)
        turns.registry.resign("reaper", "another")
        for _ in range(2):  # at least as many runs, of which only the first has something to tell
            turns.publisher.ensure("idle")
            eventually(lambda: queues(turns) == set())
    assert told() == [
        "the reaper runs: it removes queues idle for 0 s every 0.1 s, and sends lost tasks on every 0.1 s",
        "standing by: another reaper is the active one",
        "this is the active reaper",
    ]


@pytest.mark.parametrize("what", ["management", "redis"])
def test_an_outage_suspends_the_removal_and_is_told_once(
    settings: Settings,
    turns: TakeTurns,
    channel: BlockingChannel,
    caplog: pytest.LogCaptureFixture,
    eventually: Eventually,
    what: str,
) -> None:
    """While the management API or Redis is silent nothing goes, lost tasks are recovered, and one line tells it."""
    concern, name = {"management": ("broker", "management_url"), "redis": ("redis", "redis_url")}[what]
    straight = getattr(settings, concern)
    with proxy.running(getattr(straight, name)) as between:
        detour = straight.model_copy(update={name: between.url})
        with installed(replace(settings, **{concern: detour})) as own, running(own):
            between.silence()
            eventually(lambda: warnings(caplog, "removing idle queues is suspended"))
            turns.publisher.ensure("idle")
            lose(channel, "lost")
            eventually(lambda: queues(turns) == {"idle", "lost"})
            attempts = between.accepted
            eventually(lambda: between.accepted > attempts + 2, within=20, what="more attempts")
            assert queues(turns) == {"idle", "lost"}
            between.drop()
            eventually(lambda: "idle" not in queues(turns), within=20)
    assert len(warnings(caplog, "removing idle queues is suspended")) == 1
    assert len(warnings(caplog, "removing idle queues goes on")) == 1
    assert not warnings(caplog, "recovering lost tasks")


def test_without_rabbitmq_both_wait_for_it(
    settings: Settings,
    turns: TakeTurns,
    channel: BlockingChannel,
    caplog: pytest.LogCaptureFixture,
    eventually: Eventually,
) -> None:
    """While RabbitMQ does not answer, lost tasks wait there; one line tells it, and then it goes on by itself."""
    with proxy.running(str(settings.broker.amqp_url)) as between:
        detour = settings.broker.model_copy(update={"amqp_url": between.url})
        turns.publisher.ensure("first")
        with installed(replace(settings, broker=detour)) as own, running(own):
            eventually(lambda: queues(turns) == set())
            between.silence()
            lose(channel, "lost")
            eventually(lambda: warnings(caplog, "recovering lost tasks is suspended"))
            attempts = between.accepted
            eventually(lambda: between.accepted > attempts + 2, within=20, what="more attempts")
            between.drop()
            eventually(lambda: queues(turns) == {"lost"}, within=20)
            eventually(lambda: warnings(caplog, "recovering lost tasks goes on"))
    assert len(warnings(caplog, "recovering lost tasks is suspended")) == 1


def test_an_unexpected_error_ends_the_service(turns: TakeTurns, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is no outage is not swallowed: both loops end, and it is raised."""
    service, stop = ReaperService(turns), threading.Event()

    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(service._recoverer, "run_once", fail)
    with pytest.raises(ZeroDivisionError):
        service.run_forever(stop)
    assert stop.is_set()
