"""The system's status, on real servers and with a real worker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from support.api_server import assert_problem, serving, shop
from support.outages import without_broker, without_management, without_redis
from support.workers import worker
from taketurns.topology import DEAD_QUEUE, LOST_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from taketurns import TakeTurns
    from taketurns.settings import Settings
    from taketurns.status import SystemStatus

    Eventually = Callable[..., None]

WITHIN = 6.0
"""Seconds within which a status is told, whatever is away; the management API has a patience of one."""


@pytest.fixture
def turns(settings: Settings) -> Iterator[TakeTurns]:
    turns = shop(settings)
    yield turns
    turns.close()


def publish(turns: TakeTurns, tenant: str, stamp: float) -> None:
    """Put a message into a tenant's queue that was submitted at that time."""
    queue = turns.publisher.ensure(tenant)
    turns.publisher.publish(
        b"{}", routing_key=queue, properties={"timestamp": int(stamp), "delivery_mode": 2}
    )


def test_an_idle_system(turns: TakeTurns) -> None:
    """Without workers and tasks all three servers answer with their versions, and everything else is none."""
    status = turns.status()
    assert status.ok
    for server in (status.broker, status.management, status.redis):
        assert (server.ok, server.message) == (True, "")
        assert server.version
        assert int(server.version.split(".")[0]) >= 3
    assert status.broker.version == status.management.version
    assert (status.workers, status.silent) == ([], [])
    assert (status.tenants, status.paused, status.running, status.throttled) == (0, 0, 0, 0)
    assert (status.ready, status.unacknowledged, status.uncounted) == (0, 0, 0)
    assert (status.dead, status.lost) == (0, 0)
    assert status.oldest_wait is None


def test_dead_letters_and_lost_tasks_are_counted(turns: TakeTurns, eventually: Eventually) -> None:
    """Those that somebody holds are counted too, and none of them as a tenant's."""
    turns.dead_letters.count()
    for key, number in ((DEAD_QUEUE, 3), (LOST_QUEUE, 2)):
        for _ in range(number):
            turns.publisher.publish(b"{}", routing_key=key, exchange="", properties={})
    with turns.app.connection_for_write() as connection:
        connection.default_channel.basic_get(DEAD_QUEUE)
        eventually(lambda: (turns.status().dead, turns.status().lost) == (3, 2))
        assert (turns.status().ready, turns.status().tenants) == (0, 0)


def test_a_busy_system(turns: TakeTurns, settings: Settings, tmp_path: Path, eventually: Eventually) -> None:
    """Live workers tell what they run and hold; one that does not answer is named, and soon."""
    turns.registry.update("paused", paused=True)
    turns.registry.update("quiet", weight=2)
    turns.registry.worker_alive("gone@host", 60)
    nap = turns.app.tasks["shop.nap"]
    with worker(settings, tmp_path, "-P", "threads", "-c", "2", app="support.api_app") as alive:
        nap.apply_async((0,), tenant="paused")
        for tenant in ("a", "b"):
            nap.apply_async((60,), tenant=tenant)
        eventually(lambda: turns.status().running == 2)
        for _ in range(5):
            nap.apply_async((0,), tenant="a")

        def settled() -> bool:
            """Broker and worker are asked side by side, and tell the same when nothing moves any more."""
            status = turns.status()
            counts = [each.running + each.hand for each in status.workers or []]
            return counts == [status.unacknowledged] and status.ready == 8 - counts[0]

        eventually(settled)
        started = time.monotonic()
        status = turns.status()
        assert 0.5 < time.monotonic() - started < WITHIN
        assert status.silent == ["gone@host"]
        assert status.workers is not None
        (told,) = status.workers
        assert (told.name, told.pid, told.running) == (alive.name, alive.process.pid, 2)
        assert told.hand + 2 == status.unacknowledged
        assert told.queues == 3
        assert 0 <= told.loop_lag < 5
        assert (status.running, status.tenants, status.paused) == (2, 4, 1)
        assert (status.ready, status.uncounted) == (6 - told.hand, 0)
        alive.process.kill()  # its naps are long


def test_throttled_tenants_are_counted_once(
    turns: TakeTurns, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """Those with a task that waits, on however many workers; not who has nothing left, is paused or has no limit."""
    nap = turns.app.tasks["shop.nap"]
    for tenant in ("a", "b", "empty", "paused"):
        turns.registry.update(tenant, rate_limit="1/1h")
    turns.registry.update("capped", max_concurrency=1)
    for tenant, seconds, number in (
        ("a", 0, 5),
        ("b", 0, 5),
        ("empty", 0, 1),
        ("paused", 0, 5),
        ("free", 0, 5),
    ):
        for _ in range(number):
            nap.apply_async((seconds,), tenant=tenant)

    def throttled() -> tuple[int | None, list[int], int | None]:
        status = turns.status()
        return status.throttled, [each.throttled for each in status.workers or []], status.running

    options = ("-P", "threads", "-c", "2")
    with (
        worker(settings, tmp_path, *options, app="support.api_app") as one,
        worker(settings, tmp_path, *options, app="support.api_app", name="w2") as two,
        serving(turns) as api,
        api.as_("root", operator=True) as operator,
    ):

        def told() -> bool:
            count, of_each, _ = throttled()
            return count == 3 and len(of_each) == 2 and min(of_each) >= 3

        eventually(told, within=20, what="a, b and paused on both workers")
        turns.registry.update("paused", paused=True)
        eventually(lambda: throttled()[0] == 2)
        answer = operator.get("/status").json()
        assert answer["throttled"] == 2
        assert min(each["throttled"] for each in answer["workers"]) >= 2
        for _ in range(2):
            nap.apply_async((60,), tenant="capped")
        eventually(lambda: throttled()[::2] == (3, 1), what="its only slot is taken")
        turns.registry.update("a", rate_limit=None)
        eventually(lambda: throttled()[0] == 2, what="nothing limits a any more")
        for each in (one, two):
            each.process.kill()  # the nap is long


def test_the_oldest_wait_is_that_of_a_waiting_task(turns: TakeTurns, eventually: Eventually) -> None:
    """Of the tenants with waiting tasks, the one whose first task waits longest, and since when."""
    now = time.time()
    publish(turns, "young", now - 1000)
    publish(turns, "old", now - 3000)
    publish(turns, "old", now - 2000)
    publish(turns, "held", now - 9000)
    with turns.app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.basic_get("usersequence_held")

        def oldest() -> tuple[str, int, bool] | None:
            wait = turns.status().oldest_wait
            if wait is None:
                return None
            return wait.tenant, round((wait.seconds - (time.time() - now)) / 100), wait.at_most

        eventually(lambda: oldest() == ("old", 30, False), within=20)
        first = channel.basic_get("usersequence_old")
        eventually(lambda: oldest() == ("old", 30, True), within=20)
        channel.basic_ack(first.delivery_tag)
        eventually(lambda: oldest() == ("old", 20, False), within=20)
        channel.queue_purge("usersequence_old")
        assert oldest() == ("young", 10, False)


def test_without_a_broker(settings: Settings, nowhere: str) -> None:
    """The other servers tell what they know, and live workers are silent, since nobody can ask them."""
    turns = shop(without_broker(settings, nowhere))
    turns.registry.worker_alive("w1@host", 60)
    status = timed(turns)
    assert (status.broker.ok, status.management.ok, status.redis.ok) == (False, True, True)
    assert (status.workers, status.silent, status.ready) == ([], ["w1@host"], 0)


def test_without_redis(settings: Settings, nowhere: str) -> None:
    """It is unknown then which workers live, and which tenants there are."""
    status = timed(shop(without_redis(settings, nowhere)))
    assert (status.broker.ok, status.management.ok, status.redis.ok) == (True, True, False)
    assert (status.workers, status.silent, status.running) == (None, None, None)
    assert (status.tenants, status.paused, status.throttled) == (None, None, None)
    assert status.ready == 0


def test_without_the_management_api(settings: Settings, nowhere: str) -> None:
    """No backlog is told then."""
    status = timed(shop(without_management(settings, nowhere)))
    assert (status.broker.ok, status.management.ok, status.redis.ok) == (True, False, True)
    assert nowhere in status.management.message
    assert (status.ready, status.unacknowledged, status.uncounted) == (None, None, None)
    assert (status.tenants, status.throttled, status.oldest_wait) == (None, None, None)
    assert (status.dead, status.lost) == (None, None)
    assert (status.workers, status.paused) == ([], 0)


def timed(turns: TakeTurns) -> SystemStatus:
    started = time.monotonic()
    status = turns.status()
    assert time.monotonic() - started < WITHIN
    assert not status.ok
    for server in (status.broker, status.management, status.redis):
        assert server.ok == (server.message == "") == (server.version is not None)
    turns.close()
    return status


# ---- over HTTP


def test_operators_see_the_status(turns: TakeTurns) -> None:
    """GET /status has the same, with null for what is unknown; a tenant's token gets a 403."""
    turns.app.tasks["shop.anything"].apply_async(tenant="acme")
    turns.registry.worker_alive("gone@host", 60)
    with serving(turns) as api, api.as_("root", operator=True) as operator, api.as_("acme") as acme:
        answer = operator.get("/status").json()
        assert_problem(acme.get("/status"), 403, code="forbidden")
        assert_problem(api.get("/status"), 401, code="not_authenticated")
    status = turns.status()
    assert answer.pop("broker") == {"ok": True, "version": status.broker.version, "message": ""}
    assert answer.pop("management")["ok"]
    assert answer.pop("redis")["version"] == status.redis.version
    assert answer == {
        "workers": [],
        "silent": ["gone@host"],
        "tenants": 1,
        "paused": 0,
        "throttled": 0,
        "ready": 1,
        "unacknowledged": 0,
        "uncounted": 0,
        "running": 0,
        "dead": 0,
        "lost": 0,
        "oldest_wait": answer["oldest_wait"],
    }


def test_the_status_is_told_while_servers_are_away(settings: Settings, nowhere: str) -> None:
    """GET /status answers 200 and names what is away."""
    turns = shop(without_redis(without_management(settings, nowhere), nowhere))
    with serving(turns) as api, api.as_("root", operator=True) as operator:
        response = operator.get("/status")
    assert response.status_code == 200
    servers = {name: response.json()[name]["ok"] for name in ("broker", "management", "redis")}
    assert servers == {"broker": True, "management": False, "redis": False}
    assert response.json()["ready"] is None
