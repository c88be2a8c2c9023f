"""The Celery app of the worker tests: ``celery -A support.shop worker``.

Its tasks write what happened, and when, to a list in Redis that only the tests use: the ledger.
"""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from functools import partial
from typing import Any

from celery import Celery, Task, chord, current_task, group
from celery.exceptions import Reject
from celery.worker.request import Request
from redis import Redis
from redis.exceptions import RedisError

from support.weights import by_metadata
from taketurns import TakeTurns, TenantTask

app = Celery("shop", backend=os.environ.get("SHOP_RESULTS") or os.environ.get("TAKETURNS_REDIS_URL"))
# Not shared: a test process imports this module anew for each test, and a shared task would go into the later apps.
task = partial(app.task, shared=False)
app.conf.task_default_queue = "ordinary"
app.conf.broker_connection_retry_on_startup = True
app.conf.result_extended = bool(os.environ.get("SHOP_RESULTS_EXTENDED"))
app.conf.broker_heartbeat = float(os.environ.get("SHOP_HEARTBEAT", "120"))
if writes_to := os.environ.get("SHOP_WRITES_TO"):
    app.conf.broker_write_url = writes_to
app.conf.broker_transport_options = {"confirm_publish": bool(os.environ.get("SHOP_CONFIRMS"))}
app.conf.worker_cancel_long_running_tasks_on_connection_loss = False
turns = TakeTurns(app, weight_function=by_metadata if os.environ.get("SHOP_WEIGHS") else None)

_redis = Redis.from_url(turns.settings.redis.redis_url, socket_timeout=None)  # it waits for a minute, in hold
LEDGER = f"{turns.settings.redis.redis_prefix}-ledger"


def _note(label: str, started: float) -> None:
    request = current_task.request
    row = {
        "label": label,
        "id": request.id,
        "tenant": getattr(request, "taketurns_tenant", None),
        "started": started,
        "ended": time.time(),
        "pid": os.getpid(),
        "worker": request.hostname,
        "redelivered": request.delivery_info.get("redelivered"),
    }
    _redis.rpush(LEDGER, json.dumps(row))


@task(base=TenantTask, expose=True)
def work(label: str = "", seconds: float = 0.0) -> str:
    """Take so many seconds, asleep."""
    started = time.time()
    if seconds:
        time.sleep(seconds)
    _note(label, started)
    return label


@task(base=TenantTask)
def hold(label: str) -> None:
    """Run until the ledger lets one go; for a minute at most."""
    started = time.time()
    _redis.blpop(f"{LEDGER}-let-go", timeout=60)
    _note(label, started)


@task(base=TenantTask)
def hold_and_fail(label: str) -> None:
    """Run until the ledger lets one go, for a minute at most, and fail for good."""
    hold.run(label)
    raise ValueError(f"no {label}")


@task(base=TenantTask, expose=True, rate_limit_per_tenant="10/1s")
def limited(label: str = "") -> str:
    """Be limited by the task's own rate."""
    _note(label, time.time())
    return label


@task(base=TenantTask, bind=True, max_retries=2)
def flaky(self: Any, label: str) -> str:
    """Fail once, then succeed."""
    _note(f"{label}-{self.request.retries}", time.time())
    if self.request.retries == 0:
        raise self.retry(countdown=0.1)
    return label


@task(base=TenantTask, expose=True)
def fail(label: str) -> None:
    """Fail, for good."""
    _note(label, time.time())
    raise ValueError(f"no {label}")


@task(base=TenantTask, bind=True)
def count(self: Any, to: int) -> int:
    """Tell how far it is, step by step."""
    for done in range(1, to + 1):
        self.progress(done, to, f"step {done}")
    return to


@task(base=TenantTask, bind=True)
def begin(self: Any, label: str, seconds: float = 30.0) -> None:
    """Tell that it has begun, and take so many seconds."""
    self.progress(0, note=label)
    time.sleep(seconds)
    _note(label, time.time())


@task(base=TenantTask, recorded=False)
def unrecorded(label: str = "") -> str:
    _note(label, time.time())
    return label


@task(base=TenantTask, autoretry_for=(Exception,), retry_backoff=1, max_retries=1)
def stubborn(label: str) -> None:
    """Fail twice."""
    _note(label, time.time())
    raise ValueError(f"no {label}")


@task(
    base=TenantTask,
    retry_for=(ValueError,),
    retry_backoff=0.2,
    retry_backoff_max=0.5,
    retry_jitter=False,
    max_retries=3,
)
def insist(label: str) -> None:
    """Fail, and be tried again after 0.2, 0.4 and 0.5 seconds."""
    _note(label, time.time())
    raise ValueError(f"no {label}")


@task(base=TenantTask)
def refuse(label: str) -> None:
    """Reject the message."""
    _note(label, time.time())
    raise Reject(f"no {label}", requeue=False)


@task(base=TenantTask)
def die(label: str) -> None:
    """Take the process along, also if Redis is away."""
    with suppress(RedisError):
        _note(label, time.time())
    os.kill(os.getpid(), signal.SIGKILL)


@task(base=TenantTask)
def leave() -> None:
    """Try to end the worker."""
    raise SystemExit(3)


@task(base=TenantTask)
def parent(label: str) -> None:
    """Submit another task without naming a tenant."""
    work.delay(f"{label}-child")
    _note(label, time.time())


@task(base=TenantTask)
def add(*numbers: int) -> int:
    """Add numbers, or one list of them."""
    flat = numbers[0] if len(numbers) == 1 and isinstance(numbers[0], list) else numbers
    return sum(flat)


@task(base=TenantTask, singleton=True)
def alone(label: str, seconds: float = 0.0) -> None:
    """Be the tenant's only one."""
    work.run(label, seconds)


@task(base=TenantTask, singleton=True)
def hold_alone(label: str) -> None:
    """Be the tenant's only one, and run until the ledger lets one go."""
    hold.run(label)


@task(base=TenantTask, singleton=True)
def die_alone(label: str) -> None:
    """Take the process along."""
    die.run(label)


@task(base=TenantTask, singleton="args", singleton_when_busy="drop")
def hold_once(label: str) -> None:
    """Be the tenant's only one of this label, or none."""
    hold.run(label)


@task(base=TenantTask, singleton=True, singleton_when_busy="drop")
def once(label: str) -> None:
    """Be the tenant's only one, or none."""
    work.run(label)


@task(base=TenantTask, bind=True)
def locked(self: Any, label: str, seconds: float) -> int:
    """Hold a lock of the tenant's for so many seconds, and return its fencing token."""
    with self.lock("books", wait=None) as lock:
        work.run(label, seconds)
        lock.check()
        return int(lock.fence)


@task()
def ordinary(label: str = "", seconds: float = 0.0) -> str:
    """Run on the app's own queue, and take so many seconds there, asleep."""
    return work.run(label, seconds)


class StumblingRequest(Request):
    """The worker's first request of this kind can't begin."""

    stumbled = False

    def revoked(self) -> bool:
        """Fail once, in the worker, where Celery asks before it hands a request to the pool."""
        if not StumblingRequest.stumbled:
            StumblingRequest.stumbled = True
            raise RuntimeError("no start")
        return bool(super().revoked())


class StumblingTask(Task):
    """A task whose request stumbles."""

    Request = StumblingRequest


@task(base=StumblingTask)
def stumbling(label: str) -> str:
    """Run on the app's own queue, at the second attempt."""
    return work.run(label)


def total(tenant: str) -> Any:
    """Return a chord of the tenant's that adds 1 to 4."""
    return chord(
        group(add.s(1, 2).set(tenant=tenant), add.s(3, 4).set(tenant=tenant)), add.s().set(tenant=tenant)
    )
