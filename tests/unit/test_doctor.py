"""What the doctor says of what it was told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

from taketurns import TenantTask
from taketurns.delays import ladder
from taketurns.doctor import application, broker, consumer_timeout, policies, queues, redis_server, workers
from taketurns.doctor.broker_facts import BrokerFacts
from taketurns.doctor.facts import Facts
from taketurns.doctor.policy import Policy, applying
from taketurns.doctor.redis_facts import RedisFacts
from taketurns.doctor.told import NotTold, Told
from taketurns.extension import WORKER_CONSUMER
from taketurns.management import QueueInfo
from taketurns.settings import Settings
from taketurns.topology import (
    DEAD_QUEUE,
    EXCHANGE,
    LOST_EXCHANGE,
    LOST_QUEUE,
    TENANT_QUEUE_ARGUMENTS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from taketurns.doctor.finding import Verdict

    Check = Callable[[Facts], Iterable[Verdict]]

CLASSIC = {"x-queue-type": "classic"}
QUORUM = {"x-queue-type": "quorum"}


def queue(
    name: str, ready: int = 0, *, arguments: Any = TENANT_QUEUE_ARGUMENTS["classic"], durable: bool = True
) -> QueueInfo:
    return QueueInfo(name, ready, 0, None, durable, arguments)


def exchange(kind: str, **arguments: str) -> dict[str, Any]:
    return {"type": kind, "durable": True, "arguments": arguments}


def listed(*infos: QueueInfo) -> Told[dict[str, QueueInfo]]:
    shared = (queue(LOST_QUEUE, arguments=CLASSIC), queue(DEAD_QUEUE, arguments=CLASSIC))
    return Told({each.name: each for each in (*shared, *infos)})


EXCHANGES = {
    EXCHANGE: exchange("direct", **{"alternate-exchange": LOST_EXCHANGE}),
    LOST_EXCHANGE: exchange("fanout"),
}

MANAGEMENT = BrokerFacts(
    reached=Told(None),
    overview=Told({"cluster_name": "rabbit@here", "rabbitmq_version": "3.13.7"}),
    user=Told({"name": "shop", "tags": ["administrator"]}),
    may_configure=Told(".*"),
    queues=listed(),
    exchanges=Told(EXCHANGES),
    lost_is_bound=Told(value=True),
    policies=Told([]),
    deprecated=Told([]),
    alarms=Told([]),
)

REDIS = RedisFacts(
    version="7.0.15",
    appends=True,
    saves="",
    most_memory=0,
    eviction="noeviction",
    ahead=0.01,
    workers=["w1"],
    lost=[],
    reaper="reaper@here",
    schedules=1,
    beat="beat@here",
)


def facts(
    redis: RedisFacts | None = None,
    unserved: Any = None,
    version: str = "3.13.7",
    forgotten: Any = None,
    **told: Any,
) -> Facts:
    app = Celery("shop", set_as_current=False)
    app.conf.worker_consumer = WORKER_CONSUMER
    return Facts(
        app=app,
        settings=Settings.load(),
        vhost="/",
        broker=Told({"version": version, "cluster_name": "rabbit@here"}),
        management=replace(MANAGEMENT, **told),
        redis=Told(redis or REDIS),
        unserved=Told({"w1": []} if unserved is None else unserved),
        forgotten=Told(forgotten or {}),
    )


def levels(check: Check, known: Facts) -> list[str]:
    return [verdict.level for verdict in check(known)]


def only(check: Check, known: Facts) -> Verdict:
    (verdict,) = check(known)
    assert bool(verdict.advice) == (verdict.level != "ok"), "whatever is not well says what to do"
    return verdict


@pytest.mark.parametrize(
    "check",
    [
        *(broker.connection, broker.management, broker.version, broker.alarms, broker.deprecated),
        *(queues.shared, queues.ladder, queues.declared_otherwise, queues.lost, queues.dead),
        *(
            workers.orphans,
            workers.workers,
            workers.reaper,
            workers.beat,
            policies.policies,
            consumer_timeout.consumer_timeout,
        ),
        *(redis_server.connection, redis_server.persistence, redis_server.memory, redis_server.clock),
        application.app,
    ],
)
def test_a_healthy_system(check: Check) -> None:
    """Of a system on which all is well every check says so, and nothing else."""
    assert only(check, facts()).level == "ok"


def test_what_is_not_told_can_not_be_judged() -> None:
    """A check that needs what is away raises the reason why it is not known."""
    away = facts(alarms=Told(None, "the API is away"))
    with pytest.raises(NotTold, match="the API is away"):
        list(broker.alarms(away))


@pytest.mark.parametrize(
    ("version", "level"), [("3.9.1", "warning"), ("3.10.8", "ok"), ("4.3.6", "ok"), ("5.0.0", "warning")]
)
def test_versions_of_rabbitmq(version: str, level: str) -> None:
    """Versions that are not tried are warned of."""
    assert only(broker.version, facts(version=version)).level == level


def test_another_brokers_management_api() -> None:
    """An API of another cluster than the app's broker is a problem."""
    other = facts(overview=Told({"cluster_name": "rabbit@there"}))
    assert "'rabbit@there'" in only(broker.management, other).found


def test_permissions_of_the_management_user() -> None:
    """One that may not configure tenant queues is a problem; that nobody tells is none."""
    assert only(broker.management, facts(may_configure=Told("^other"))).level == "problem"
    assert only(broker.management, facts(may_configure=Told(None, "refused its user"))).level == "ok"


def test_alarms_and_deprecated_features() -> None:
    """An alarm is a problem; of the deprecated features only those that taketurns depends on are told."""
    assert only(broker.alarms, facts(alarms=Told(["disk"]))).level == "problem"
    used = facts(deprecated=Told(["transient_nonexcl_queues", "amqp_address_v1"]))
    assert "transient_nonexcl_queues" in only(broker.deprecated, used).found
    assert only(broker.deprecated, facts(deprecated=Told(None))).level == "ok"


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"exchanges": Told({**EXCHANGES, EXCHANGE: exchange("direct")})}, f"exchange {EXCHANGE}"),
        ({"exchanges": Told({EXCHANGE: EXCHANGES[EXCHANGE]})}, f"exchange {LOST_EXCHANGE}"),
        ({"queues": Told({DEAD_QUEUE: queue(DEAD_QUEUE, arguments=CLASSIC)})}, f"queue {LOST_QUEUE}"),
        ({"lost_is_bound": Told(value=False)}, "binding"),
    ],
)
def test_the_shared_queues_and_exchanges(told: dict[str, Any], name: str) -> None:
    """What is missing or declared otherwise is named; that nothing is there yet is well."""
    verdict = only(queues.shared, facts(**told))
    assert verdict.level == "problem"
    assert name in verdict.found
    assert only(queues.shared, facts(queues=Told({}), exchanges=Told({}))).level == "ok"


def test_the_delay_queues() -> None:
    """All of them or none: a missing one, or one with another time, is a problem."""
    all_of_them = [queue(name, arguments=arguments) for name, arguments in ladder()]
    assert only(queues.ladder, facts(queues=listed(*all_of_them))).level == "ok"
    assert only(queues.ladder, facts(queues=listed(*all_of_them[1:]))).level == "problem"
    other = replace(all_of_them[3], arguments={**all_of_them[3].arguments, "x-message-ttl": 1})
    assert (
        only(queues.ladder, facts(queues=listed(*all_of_them[:3], other, *all_of_them[4:]))).level
        == "problem"
    )


def test_tenant_queues_declared_otherwise() -> None:
    """They are counted and named, and others' queues are not looked at."""
    known = facts(
        queues=listed(
            queue("usersequence_a"),
            queue("usersequence_b", arguments=CLASSIC),
            queue("usersequence_c", durable=False),
            queue("emails", arguments=QUORUM),
        )
    )
    verdict = only(queues.declared_otherwise, known)
    assert (verdict.level, verdict.found) == (
        "warning",
        "2 of 3 are declared otherwise: usersequence_b, usersequence_c",
    )


def test_lost_and_dead_messages() -> None:
    """What stays in either queue is counted."""
    held = Told({name: queue(name, 3, arguments=CLASSIC) for name in (LOST_QUEUE, DEAD_QUEUE)})
    for check in (queues.lost, queues.dead):
        verdict = only(check, facts(queues=held))
        assert verdict.level == "warning"
        assert "3 " in verdict.found


WAITING = listed(queue("usersequence_a", 2), queue("usersequence_b", 1), queue("usersequence_c"))


@pytest.mark.parametrize(
    ("names", "unserved", "level", "found"),
    [
        ([], {}, "problem", "waiting: 3 tasks of 2 tenants, and no worker"),
        (["w1"], {}, "warning", "no worker said in time"),
        (["w1", "w2"], {"w1": ["a"], "w2": ["b"]}, "ok", "all served"),
        (["w1", "w2"], {"w1": ["a", "b"], "w2": ["b"]}, "problem", "serves b; waiting there: 1 task"),
    ],
)
def test_tasks_without_a_worker(names: list[str], unserved: Any, level: str, found: str) -> None:
    """Tasks that wait are orphans if nobody lives, or if none of those that answered serves their tenant."""
    known = facts(redis=replace(REDIS, workers=names), unserved=unserved, queues=WAITING)
    verdict = only(workers.orphans, known)
    assert verdict.level == level
    assert found in verdict.found


def test_workers_and_reapers() -> None:
    """Lost and silent workers are named, and that there is no worker or no reaper is said."""
    assert levels(workers.workers, facts(redis=replace(REDIS, lost=["w2"]))) == ["warning", "ok"]
    assert only(workers.workers, facts(unserved={})).found == "live, but did not answer in time: w1"
    assert only(workers.workers, facts(redis=replace(REDIS, workers=[]), unserved={})).level == "warning"
    assert only(workers.reaper, facts(redis=replace(REDIS, reaper=None))).level == "warning"


def test_a_beat_is_needed_for_schedules() -> None:
    assert only(workers.beat, facts(redis=replace(REDIS, beat=None))).level == "problem"
    assert only(workers.beat, facts(redis=replace(REDIS, beat=None, schedules=0))).level == "ok"


def policy(name: str = "p", priority: int = 0, *, operators: bool = False, **definition: Any) -> Policy:
    keys = {key.replace("_", "-"): value for key, value in definition.items()}
    return Policy(name, "^usersequence_", "queues", priority, keys, operators)


@pytest.mark.parametrize(
    ("given", "level"),
    [
        (policy(message_ttl=1000), "problem"),
        (policy(expires=1000), "problem"),
        (policy(max_length=10), "problem"),
        (policy(max_length=10, overflow="reject-publish"), "warning"),
        (policy(dead_letter_exchange="x"), "warning"),
        (policy(operators=True, message_ttl=1000), "problem"),
        (policy(delivery_limit=3), "ok"),
        (policy(queue_mode="lazy"), "ok"),
        (replace(policy(message_ttl=1000), pattern="^emails$"), "ok"),
        (replace(policy(message_ttl=1000), applies_to="exchanges"), "ok"),
    ],
)
def test_policies(given: Policy, level: str) -> None:
    """One that would lose tasks of tenants, even those to come, is named with what it does; others are not."""
    verdict = only(policies.policies, facts(policies=Told([given])))
    assert verdict.level == level
    assert ("'p'" in verdict.found) == (level != "ok")


def test_only_the_policy_of_the_highest_priority_applies() -> None:
    """An overruled policy does nothing; an operators' one applies beside it."""
    overruled, ruling = policy("low", message_ttl=1), policy("high", 5, queue_mode="lazy")
    operators = policy("ops", operators=True, expires=1)
    assert applying([overruled, ruling, operators], "usersequence_a", "classic") == [ruling, operators]
    assert only(policies.policies, facts(policies=Told([overruled, ruling]))).level == "ok"


def nothing() -> None:
    """Be the body of a task."""


def limited(known: Facts, **limits: float | None) -> Facts:
    """Give the app tenants' tasks with these time limits."""
    for name, limit in limits.items():
        known.app.task(nothing, base=TenantTask, name=name, shared=False, time_limit=limit)
    return known


@pytest.mark.parametrize(
    ("version", "limit", "given", "expected"),
    [
        ("3.10.8", 1700, [], ["ok"]),
        ("3.10.8", 1750, [], ["warning"]),
        ("3.10.8", None, [], ["warning"]),
        ("4.3.6", None, [], ["ok"]),
        ("3.13.7", 2000, [policy(consumer_timeout=86_400_000)], ["ok"]),
        ("3.13.7", 600, [policy(consumer_timeout=60_000)], ["warning"]),
        ("3.10.8", 2000, [policy(consumer_timeout=86_400_000)], ["warning"]),
    ],
)
def test_consumer_timeout(
    version: str, limit: float | None, given: list[Policy], expected: list[str]
) -> None:
    """Tasks that may run for that long are named; policies count from 3.12 on, and 4.3 has none."""
    known = limited(facts(version=version, policies=Told(given)), thumbnail=limit)
    assert levels(consumer_timeout.consumer_timeout, known) == expected
    if expected != ["ok"]:
        assert "thumbnail" in only(consumer_timeout.consumer_timeout, known).found


def test_consumer_timeout_of_a_private_node() -> None:
    """It has a day: there is nothing to do about tasks without a limit, but about one that may take so long."""
    ours = Told({"version": "3.10.8", "cluster_name": "taketurns-0123abcd@here"})
    endless = replace(limited(facts(), thumbnail=None), broker=ours)
    assert only(consumer_timeout.consumer_timeout, endless).found == (
        "86400 s, as `taketurns services` sets it; the time_limit of every task that has one is less than that"
    )
    long = replace(limited(facts(), thumbnail=86_400), broker=ours)
    assert only(consumer_timeout.consumer_timeout, long).level == "warning"


def test_consumer_timeout_holds_for_quorum_queues() -> None:
    """On RabbitMQ 4.3 too."""
    known = limited(facts(version="4.3.6", queues=listed(queue("usersequence_a", arguments=QUORUM))), t=None)
    assert only(consumer_timeout.consumer_timeout, known).level == "warning"


def test_consumer_timeout_looks_at_the_queues_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKETURNS_QUEUE_TYPE", "quorum")
    known = limited(facts(version="4.3.6"), t=None)
    assert only(consumer_timeout.consumer_timeout, known).level == "warning"


@pytest.mark.parametrize(
    ("check", "changes", "level"),
    [
        (redis_server.connection, {"version": "6.0.1"}, "warning"),
        (redis_server.persistence, {"appends": False, "saves": "3600 1"}, "warning"),
        (redis_server.persistence, {"appends": False, "saves": None}, "warning"),
        (redis_server.persistence, {"appends": False, "saves": ""}, "problem"),
        (redis_server.memory, {"eviction": "allkeys-lru", "most_memory": 1 << 30}, "problem"),
        (redis_server.memory, {"eviction": "volatile-ttl", "most_memory": 1 << 30}, "warning"),
        (redis_server.memory, {"eviction": "allkeys-lru"}, "ok"),
        (redis_server.clock, {"ahead": 1.5}, "warning"),
        (redis_server.clock, {"ahead": -1.5}, "warning"),
        (redis_server.clock, {"ahead": -0.9}, "ok"),
    ],
)
def test_redis(check: Check, changes: dict[str, Any], level: str) -> None:
    """What would lose settings, tokens or the time is told."""
    assert only(check, facts(redis=replace(REDIS, **changes))).level == level


@pytest.mark.parametrize(
    ("name", "value", "level"),
    [
        ("worker_consumer", "celery.worker.consumer:Consumer", "problem"),
        ("worker_pool", "gevent", "problem"),
        ("worker_enable_remote_control", False, "problem"),
        ("task_always_eager", True, "warning"),
        ("broker_heartbeat", 0, "warning"),
    ],
)
def test_the_app(name: str, value: object, level: str) -> None:
    """A setting that breaks a promise is named."""
    known = facts()
    known.app.conf[name] = value
    verdict = only(application.app, known)
    assert verdict.level == level
    assert name in verdict.found


def test_tasks_that_wait_for_one_that_nobody_remembers_are_told() -> None:
    """It names them, and the command that lets go of what waits for them."""
    waits = listed(queue("usersequence.after.acme/p1", 2, arguments=CLASSIC))
    assert "2 tasks" in only(queues.blocked, facts(queues=waits)).found
    verdict = only(queues.blocked, facts(queues=waits, forgotten={("acme", "p1"): 2}))
    assert (verdict.level, "p1 of acme" in verdict.found) == ("warning", True)
    assert "taketurns tasks release" in verdict.advice
