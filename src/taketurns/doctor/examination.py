"""The examination: every check in its order, on the same facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taketurns.doctor import application, broker, consumer_timeout, policies, queues, redis_server, workers
from taketurns.doctor.facts import gather
from taketurns.doctor.finding import Finding, Verdict
from taketurns.doctor.told import NotTold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from taketurns.doctor.facts import Facts
    from taketurns.extension import TakeTurns

_CHECKS: Final[Mapping[str, Callable[[Facts], Iterable[Verdict]]]] = {
    "RabbitMQ": broker.connection,
    "management API": broker.management,
    "Redis": redis_server.connection,
    "RabbitMQ's version": broker.version,
    "RabbitMQ's alarms": broker.alarms,
    "deprecated features": broker.deprecated,
    "shared queues": queues.shared,
    "delay queues": queues.ladder,
    "tenant queues": queues.declared_otherwise,
    "policies": policies.policies,
    "consumer_timeout": consumer_timeout.consumer_timeout,
    "tasks without a worker": workers.orphans,
    "workers": workers.workers,
    "lost queue": queues.lost,
    "blocked tasks": queues.blocked,
    "dead letters": queues.dead,
    "reaper": workers.reaper,
    "beat": workers.beat,
    "Redis' persistence": redis_server.persistence,
    "Redis' memory": redis_server.memory,
    "clock": redis_server.clock,
    "app": application.app,
}


def examine(turns: TakeTurns) -> list[Finding]:
    """Look at everything, change nothing, and return what was found, in the order of the checks.

    Never fails: a server that is away is a finding, and what can't be looked at without it is ``skipped``.
    """
    facts = gather(turns)
    return [Finding(name, *verdict) for name, check in _CHECKS.items() for verdict in _judged(check, facts)]


def _judged(check: Callable[[Facts], Iterable[Verdict]], facts: Facts) -> list[Verdict]:
    try:
        return list(check(facts))
    except NotTold as error:
        return [Verdict("skipped", str(error))]
