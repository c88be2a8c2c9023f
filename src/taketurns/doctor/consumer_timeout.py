"""The check of ``consumer_timeout``: after it RabbitMQ takes a running task's message back, and it runs again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taketurns.doctor.finding import counted, named, ok, release, warning
from taketurns.doctor.policy import applying
from taketurns.tenants import queue_name, tenant_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.doctor.facts import Facts
    from taketurns.doctor.finding import Verdict

_DEFAULT: Final = 1800.0
"""Seconds, of all versions since 3.8.17. What rabbitmq.conf says no client is told."""

_POLICY_SINCE: Final = (3, 12)
_CLASSIC_FREE_SINCE: Final = (4, 3)
"""From this version on it does not hold for classic queues, whatever is set."""

_ADVICE: Final = (
    "set consumer_timeout in rabbitmq.conf, in milliseconds, to more than what the longest task takes and "
    "TAKETURNS_WORKER_MAX_HELD, such as 86400000, unless that is done"
)


def consumer_timeout(facts: Facts) -> Iterator[Verdict]:
    """No task may run for so long that RabbitMQ takes its message back."""
    version = release(str(facts.broker.get().get("version", "")))
    kinds = _kinds(facts)
    if version >= _CLASSIC_FREE_SINCE and kinds == {"classic"}:
        yield ok("classic queues have none since RabbitMQ 4.3")
        return
    timeout = _timeout(facts) if version >= _POLICY_SINCE else None
    said = f"{timeout:g} s by a policy" if timeout else f"{_DEFAULT:g} s, unless rabbitmq.conf says otherwise"
    limits = _limits(facts)
    # Its time in the hand counts too, which a worker looks at every quarter of that.
    longest = (timeout or _DEFAULT) - 1.25 * facts.settings.worker.max_held
    long = [name for name, limit in limits.items() if limit is not None and limit > longest]
    endless = [name for name, limit in limits.items() if limit is None]
    if long:
        yield warning(f"it is {said}; the time_limit of {named(long)} is too near to that", _ADVICE)
    if endless:
        yield warning(
            f"it is {said}; whether {counted(len(endless), 'task')} without time_limit may take that long can't be "
            f"told from here: {named(endless)}",
            f"{_ADVICE}; or give tasks a time_limit, which needs the prefork pool",
        )
    if not (long or endless):
        yield ok(f"{said}; the time_limit of every task is less than that")


def _kinds(facts: Facts) -> set[str]:
    queues = facts.management.queues.value or {}
    there = {
        str(queue.arguments.get("x-queue-type", "classic"))
        for name, queue in queues.items()
        if tenant_of(name) is not None
    }
    return there | {facts.settings.broker.queue_type}


def _timeout(facts: Facts) -> float | None:
    """Return the seconds that a policy gives tenants' queues, if one does."""
    policies = facts.management.policies.value or ()
    given = [
        float(policy.definition["consumer-timeout"]) / 1000
        for kind in _kinds(facts)
        for policy in applying(policies, queue_name("a"), kind)
        if "consumer-timeout" in policy.definition
    ]
    return min(given, default=None)


def _limits(facts: Facts) -> dict[str, float | None]:
    """Return after how many seconds each tenants' task is ended, by its name; None: never."""
    everybodys = facts.app.conf.task_time_limit
    tasks = {name: task for name, task in facts.app.tasks.items() if hasattr(task, "rate_limit_per_tenant")}
    return {name: task.time_limit or everybodys for name, task in tasks.items()}
