"""The check of ``consumer_timeout``: after it RabbitMQ takes a running task's message back, and it runs again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taketurns.doctor.finding import counted, named, ok, release, warning
from taketurns.doctor.policy import applying
from taketurns.services.identity import CONSUMER_TIMEOUT, is_private
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
    timeout, said, is_ours = _timeout(facts, version)
    limits = _limits(facts)
    # Its time in the hand counts too, which a worker looks at every quarter of that.
    longest = timeout - 1.25 * facts.settings.worker.max_held
    long = [name for name, limit in limits.items() if limit is not None and limit > longest]
    # Ours is longer than what anybody tries on a private node, and there is nothing to do about it.
    endless = [name for name, limit in limits.items() if limit is None and not is_ours]
    if long:
        yield warning(f"it is {said}; the time_limit of {named(long)} is too near to that", _ADVICE)
    if endless:
        yield warning(
            f"it is {said}; whether {counted(len(endless), 'task')} without time_limit may take that long can't be "
            f"told from here: {named(endless)}",
            f"{_ADVICE}; or give tasks a time_limit, which needs the prefork pool",
        )
    if not (long or endless):
        some = "every task that has one" if None in limits.values() else "every task"
        yield ok(f"{said}; the time_limit of {some} is less than that")


def _kinds(facts: Facts) -> set[str]:
    queues = facts.management.queues.value or {}
    there = {
        str(queue.arguments.get("x-queue-type", "classic"))
        for name, queue in queues.items()
        if tenant_of(name) is not None
    }
    return there | {facts.settings.broker.queue_type}


def _timeout(facts: Facts, version: tuple[int, ...]) -> tuple[float, str, bool]:
    """Return the seconds that tenants' queues have, where they are from, and whether from ourselves."""
    if version >= _POLICY_SINCE and (given := _by_policy(facts)) is not None:
        return given, f"{given:g} s by a policy", False
    if is_private(str(facts.broker.get().get("cluster_name", ""))):
        return CONSUMER_TIMEOUT, f"{CONSUMER_TIMEOUT:g} s, as `taketurns services` sets it", True
    return _DEFAULT, f"{_DEFAULT:g} s, unless rabbitmq.conf says otherwise", False


def _by_policy(facts: Facts) -> float | None:
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
