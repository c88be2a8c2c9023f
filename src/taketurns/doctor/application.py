"""The check of the Celery app: its versions, and settings that would break what taketurns promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import amqp
import celery
import kombu

from taketurns.doctor.finding import ok, problem, release, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.doctor.facts import Facts
    from taketurns.doctor.finding import Verdict

_CONSUMER: Final = "taketurns.worker.consumer:TenantConsumer"
_OLDEST: Final = {"celery": (5, 7), "kombu": (5, 7), "py-amqp": (5, 4)}
_GREEN: Final = frozenset({"gevent", "eventlet"})


def app(facts: Facts) -> Iterator[Verdict]:
    """Versions and settings are such that its workers keep the promises."""
    conf = facts.app.conf
    versions = {"celery": celery.__version__, "kombu": kombu.__version__, "py-amqp": amqp.__version__}
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    wrong = list(_wrong(conf))
    yield from wrong
    old = [name for name, version in versions.items() if release(version) < _OLDEST[name]]
    if old:
        yield problem(f"{said}: too old", f"upgrade {' and '.join(old)}")
    elif not wrong:
        backend = "a result backend" if conf.result_backend else "no result backend, so no results are kept"
        yield ok(f"{said}; {backend}")


def _wrong(conf: Any) -> Iterator[Verdict]:
    if conf.worker_consumer != _CONSUMER:
        yield problem(
            "worker_consumer is the app's own: its workers serve no tenants", "leave worker_consumer alone"
        )
    if conf.worker_pool in _GREEN:
        yield problem("worker_pool is a green one: its workers don't start", "use prefork, threads or solo")
    if not conf.worker_enable_remote_control:
        yield problem(
            "worker_enable_remote_control is off: new tenants are found late, and no queue is ever removed",
            "leave it on",
        )
    if conf.task_always_eager:
        yield warning("task_always_eager is on: tasks run where they are submitted", "leave it to the tests")
    if not conf.broker_heartbeat:
        yield warning(
            "broker_heartbeat is off: a worker does not notice that its connection is dead",
            "leave it at its default",
        )
