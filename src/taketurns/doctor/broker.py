"""Checks of RabbitMQ itself: connections, version, alarms, deprecated features."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from taketurns.doctor.finding import Verdict, named, ok, problem, release, warning
from taketurns.permissions import PERMISSIONS
from taketurns.tenants import queue_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from taketurns.doctor.facts import Facts

_OLDEST: Final = (3, 10)
_TRIED_UP_TO: Final = 4
"""The newest major version that the tests run on."""

_MATTERS: Final[Mapping[str, str]] = {
    "transient_nonexcl_queues": (
        "Celery's remote control and events use queues of this kind: before RabbitMQ denies them, set the app's "
        "control_queue_durable and event_queue_durable"
    ),
    "management_metrics_collection": "the oldest wait of the status, and Flower, live on these statistics",
    "global_qos": "ordinary Celery workers use it, those with taketurns don't",
    "classic_queue_mirroring": "mirrored tenant queues become plain ones with RabbitMQ 4: take the policy away",
}


def connection(facts: Facts) -> Iterator[Verdict]:
    """RabbitMQ can be connected to, by the app's own broker_url."""
    trouble = facts.broker.trouble
    if trouble:
        yield problem(trouble, "until then nothing is accepted and nothing runs")
        return
    said = facts.broker.get()
    answers = f"{said.get('version')} answers, vhost {facts.vhost!r}"
    if not said.get("tls"):
        yield ok(answers)
    elif not said.get("unverified"):
        yield ok(f"{answers}, over {said['tls']}")
    else:
        yield warning(
            f"{answers}, over {said['tls']}, but nobody verifies {said['unverified']}",
            "add cert_reqs=ssl.CERT_REQUIRED and server_hostname=None to the app's broker_use_ssl, or take it out "
            "and set TAKETURNS_TLS_CA_FILE"
            if facts.settings.tls.check_hostname
            else "set TAKETURNS_TLS_CHECK_HOSTNAME=true and connect by a name that the certificate has",
        )


def management(facts: Facts) -> Iterator[Verdict]:
    """The management API is that of the same broker, and its user may do what workers and reaper do."""
    trouble = facts.management.reached.trouble
    if trouble:
        yield problem(
            trouble, "until then workers go by what Redis knows and by broadcasts, and no queue is removed"
        )
        return
    here, there = facts.broker.value, facts.management.overview.get()
    if here and here.get("cluster_name") != there.get("cluster_name"):
        yield problem(
            f"it belongs to {there.get('cluster_name')!r}, but the app's broker is {here.get('cluster_name')!r}",
            "set TAKETURNS_MANAGEMENT_URL to the app's own broker",
        )
        return
    yield _permission(facts)


def version(facts: Facts) -> Iterator[Verdict]:
    """RabbitMQ is of a version that the tests run on."""
    said = str(facts.broker.get().get("version", ""))
    if release(said) < _OLDEST:
        yield warning(f"{said} is older than 3.10, the oldest one that is tried", "upgrade RabbitMQ")
    elif release(said)[0] > _TRIED_UP_TO:
        yield warning(
            f"{said} is newer than what is tried", "see whether there is a newer release of taketurns"
        )
    else:
        yield ok(said)


def alarms(facts: Facts) -> Iterator[Verdict]:
    """No node has stopped its publishers for want of memory or disk."""
    on = facts.management.alarms.get()
    if on:
        yield problem(
            f"an alarm is on: {named(on)}; RabbitMQ accepts no task",
            "free memory or disk on its nodes, or raise vm_memory_high_watermark or disk_free_limit",
        )
    else:
        yield ok("none is on")


def deprecated(facts: Facts) -> Iterator[Verdict]:
    """Nothing that a coming RabbitMQ refuses is depended on."""
    used = facts.management.deprecated.get()
    if used is None:
        yield ok("this RabbitMQ does not tell: 3.13 and later do")
        return
    matters = [name for name in used if name in _MATTERS]
    for name in matters:
        yield warning(f"{name} is in use", _MATTERS[name])
    if not matters:
        yield ok("none that matters is in use")


def _permission(facts: Facts) -> Verdict:
    user = facts.management.user.get()
    tags = user.get("tags") or []
    shown = ", ".join(tags) if isinstance(tags, list) else str(tags)
    who = f"{user.get('name')!r} ({shown}) can read it"
    configure = facts.management.may_configure.value
    if configure is None:
        return ok(f"{who}; only an administrator is told what else it may")
    if re.search(configure, queue_name("a")) is None:
        needed = PERMISSIONS["reaper"]
        return problem(
            f"{who}, but not configure {queue_name('a')!r} in the vhost: the reaper can remove nothing",
            f"rabbitmqctl set_permissions -p {facts.vhost} {user.get('name')} "
            f"'{needed.configure}' '{needed.write}' '{needed.read}'",
        )
    return ok(f"{who}, and configure tenant queues")
