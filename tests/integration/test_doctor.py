"""The doctor, on real servers and with a real worker."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import requests
from redis import Redis

from support.api_server import shop as small_app
from support.outages import without_broker, without_management, without_redis
from support.workers import worker
from taketurns.tenants import queue_name
from taketurns.topology import DEAD_QUEUE, LOST_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from support.servers import Broker
    from taketurns import TakeTurns
    from taketurns.doctor import Finding
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

WITHIN = 8.0
"""Seconds within which it has looked at everything, whatever is away; the management API has a patience of one."""


@pytest.fixture
def turns(settings: Settings) -> Iterator[TakeTurns]:
    turns = small_app(settings)
    yield turns
    turns.close()
    turns.management.close()


def of(turns: TakeTurns, check: str) -> Finding:
    """Return the only finding of a check."""
    (finding,) = (each for each in turns.doctor() if each.check == check)
    return finding


def put(broker: Broker, path: str, body: dict[str, Any]) -> None:
    requests.put(broker.api(path), json=body, timeout=10).raise_for_status()


def everything(broker: Broker, settings: Settings) -> tuple[Any, Any]:
    """Return all that there is in the vhost and below the key prefix."""
    definitions = requests.get(broker.api("definitions/{vhost}"), timeout=10).json()
    with Redis.from_url(settings.redis.redis_url) as redis:
        return definitions, sorted(redis.scan_iter(match=f"{settings.redis.redis_prefix}*"))


def test_it_finds_no_fault_with_a_healthy_system(
    turns: TakeTurns, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """With a worker that serves tenants, everything is well but for what it can't know and the missing reaper."""
    nap = turns.app.tasks["shop.nap"]
    with worker(settings, tmp_path, "-P", "threads", "-c", "1", app="support.api_app") as this:
        for seconds in (60, 0, 0):
            nap.apply_async((seconds,), tenant="a")
        nap.apply_async((0,), tenant="a", countdown=3600)
        eventually(
            lambda: of(turns, "tasks without a worker").found == "waiting: 1 task of 1 tenant, all served"
        )
        eventually(lambda: "there: 1 task" in of(turns, "delay queues").found, what="counted by RabbitMQ")
        findings = {each.check: each for each in turns.doctor()}
        this.process.kill()  # its nap is long
    unwell = {name for name, each in findings.items() if each.level != "ok"}
    if findings["RabbitMQ's version"].found < "4.3":
        is_private = "taketurns services" in findings["consumer_timeout"].found
        assert unwell == ({"reaper"} if is_private else {"consumer_timeout", "reaper"})
    else:
        assert unwell == {"deprecated features", "reaper"}
        assert findings["deprecated features"].found == "transient_nonexcl_queues is in use", (
            "by remote control"
        )
    assert findings["workers"].found == f"1 worker alive: {this.name}"


def test_it_only_looks(turns: TakeTurns, broker: Broker, settings: Settings) -> None:
    """Nothing in RabbitMQ or Redis is another afterwards, whether anything was there before or not."""
    for _ in range(2):
        before = everything(broker, settings)
        turns.doctor()
        assert everything(broker, settings) == before
        turns.app.tasks["shop.nap"].apply_async((0,), tenant="a")


@pytest.mark.parametrize(
    ("without", "check", "skipped"),
    [
        (without_broker, "RabbitMQ", {"RabbitMQ's version", "consumer_timeout"}),
        (without_management, "management API", {"shared queues", "policies", "tasks without a worker"}),
        (without_redis, "Redis", {"Redis' memory", "clock", "workers", "reaper", "beat"}),
    ],
)
def test_what_is_away_is_a_finding(
    without: Callable[[Settings, str], Settings],
    check: str,
    skipped: set[str],
    settings: Settings,
    nowhere: str,
) -> None:
    """It never fails: the server is the problem, and the checks that need it say that they were skipped, and why."""
    turns = small_app(without(settings, nowhere))
    started = time.monotonic()
    findings = {each.check: each for each in turns.doctor()}
    assert time.monotonic() - started < WITHIN
    assert {name for name, each in findings.items() if each.level == "problem"} == {check}
    assert skipped <= {name for name, each in findings.items() if each.level == "skipped"}
    assert all(each.found for each in findings.values())
    turns.close()


def test_tasks_that_nobody_serves(
    turns: TakeTurns, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """They are a problem without a worker, and with one that was told to leave their queue alone."""
    nap = turns.app.tasks["shop.nap"]
    nap.apply_async((0,), tenant="a")
    finding = of(turns, "tasks without a worker")
    assert (finding.level, finding.found) == (
        "problem",
        "waiting: 1 task of 1 tenant, and no worker that serves tenants lives",
    )
    with worker(settings, tmp_path, "-P", "threads", "-c", "1", app="support.api_app") as this:
        eventually(lambda: of(turns, "tasks without a worker").found == "nothing waits")
        turns.app.control.cancel_consumer(queue_name("a"), destination=[this.name], reply=True)
        nap.apply_async((0,), tenant="b")
        nap.apply_async((0,), tenant="a")
        finding = of(turns, "tasks without a worker")
        assert finding.level == "problem"
        assert finding.found == "no worker that answered serves a; waiting there: 1 task"


def test_queues_and_policies_of_others(turns: TakeTurns, broker: Broker, amqp: BlockingChannel) -> None:
    """A queue declared otherwise, a policy that drops tasks, lost and dead messages are told by name or number."""
    turns.publisher.ensure("a")
    amqp.queue_declare(queue_name("b"), durable=True)
    for name in (LOST_QUEUE, DEAD_QUEUE):
        amqp.basic_publish("", name, b"x")
    put(broker, "policies/{vhost}/short", {"pattern": ".", "definition": {"message-ttl": 100_000}})
    findings = {each.check: each for each in turns.doctor()}
    assert findings["tenant queues"].found == "1 of 2 are declared otherwise: usersequence_b"
    assert findings["policies"].level == "problem"
    assert "policy 'short' sets message-ttl to 100000" in findings["policies"].found
    assert findings["shared queues"].level == "ok"

    assert findings["lost queue"].found == "waiting to be sent on: 1 task"
    assert findings["dead letters"].found == f"1 message in {DEAD_QUEUE}"


def test_missing_shared_queues(turns: TakeTurns, amqp: BlockingChannel) -> None:
    """What was deleted by hand is a problem."""
    turns.publisher.ensure("a")
    assert of(turns, "shared queues").level == "ok"
    amqp.queue_delete(LOST_QUEUE)
    finding = of(turns, "shared queues")
    assert finding.level == "problem"
    assert f"queue {LOST_QUEUE}" in finding.found


@pytest.mark.parametrize(
    ("tags", "password", "level", "found"),
    [
        ("management", "secret", "ok", "only an administrator is told"),
        ("administrator", "secret", "problem", "not configure 'usersequence_a'"),
        ("management", "wrong", "problem", "refused the user"),
        ("", "secret", "problem", "refused the user"),
    ],
)
def test_users_of_the_management_api(
    tags: str, password: str, level: str, found: str, broker: Broker, settings: Settings
) -> None:
    """What its user lacks is a problem; of who may not ask for permissions the rest is judged all the same."""
    name = broker.vhost
    put(broker, f"users/{name}", {"password": "secret", "tags": tags})
    put(broker, f"permissions/{{vhost}}/{name}", {"configure": "^other", "write": ".*", "read": ".*"})
    host = settings.broker.management_url.rpartition("@")[2]
    url = {"management_url": f"http://{name}:{password}@{host}"}
    turns = small_app(replace(settings, broker=settings.broker.model_copy(update=url)))
    try:
        findings = {each.check: each for each in turns.doctor()}
    finally:
        requests.delete(broker.api(f"users/{name}"), timeout=10).raise_for_status()
        turns.close()
        turns.management.close()
    assert findings["management API"].level == level, findings["management API"]
    assert found in findings["management API"].found
    assert (findings["policies"].level == "ok") == ("refused" not in found)
