"""The check of RabbitMQ's policies: none may drop tasks, or remove queues that hold some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taketurns.delays import ladder
from taketurns.dependencies.waiting import after_name, parent_of
from taketurns.doctor.finding import Verdict, named, ok
from taketurns.doctor.policy import applying
from taketurns.tenants import queue_name, tenant_of
from taketurns.topology import DEAD_QUEUE, LOST_QUEUE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from taketurns.doctor.facts import Facts
    from taketurns.doctor.finding import Level
    from taketurns.doctor.policy import Policy

_EFFECTS: Final[Mapping[str, tuple[Level, str]]] = {
    "message-ttl": ("problem", "tasks that wait longer are dropped"),
    "expires": ("problem", "a queue that nobody uses is deleted with its tasks"),
    "max-length": ("problem", "with more tasks the oldest ones are dropped"),
    "max-length-bytes": ("problem", "with more bytes the oldest tasks are dropped"),
    "delivery-limit": ("problem", "a task that was given back as often is dropped"),
    "dead-letter-exchange": ("warning", "what is rejected or dropped goes there as well"),
    "ha-mode": ("warning", "mirroring makes each turn slow, and RabbitMQ 4 has none"),
}
_ONLY_REFUSED: Final = frozenset({"reject-publish", "reject-publish-dlx"})


def policies(facts: Facts) -> Iterator[Verdict]:
    """No policy applies to a queue of taketurns that would lose what is in it."""
    everything = facts.management.policies.get()
    found: dict[tuple[str, str], set[str]] = {}
    verdicts: dict[tuple[str, str], Verdict] = {}
    for name, kind in _queues(facts).items():
        for policy in applying(everything, name, kind):
            for key in policy.definition.keys() & _EFFECTS.keys():
                if key == "delivery-limit" and kind == "classic":
                    continue  # only quorum queues count deliveries
                found.setdefault((policy.title, key), set()).add(name)
                verdicts[policy.title, key] = _verdict(policy, key)
    for which, verdict in sorted(verdicts.items()):
        yield verdict._replace(found=f"{verdict.found} (for {named(found[which])})")
    if not verdicts:
        yield ok("none that would lose tasks applies to queues of taketurns")


def _verdict(policy: Policy, key: str) -> Verdict:
    level, effect = _EFFECTS[key]
    if key.startswith("max-length") and policy.definition.get("overflow") in _ONLY_REFUSED:
        level, effect = "warning", "with more, submissions fail"
    return Verdict(
        level,
        f"{policy.title} sets {key} to {policy.definition[key]!r}: {effect}",
        f"take {key} out of it, or narrow its pattern {policy.pattern!r}",
    )


def _queues(facts: Facts) -> dict[str, str]:
    """Return the queues that policies may apply to, those of tenants to come included, with their types."""
    there = {
        name: str(queue.arguments.get("x-queue-type", "classic"))
        for name, queue in facts.management.queues.get().items()
        if tenant_of(name) is not None or parent_of(name) is not None
    }
    delays = {name: "quorum" for name, _ in ladder() if name in facts.management.queues.get()}
    to_come = {queue_name("a"): "classic", after_name("a", "b"): "classic"}
    return {**to_come, LOST_QUEUE: "classic", DEAD_QUEUE: "classic", **delays, **there}
