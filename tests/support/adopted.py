"""An app of which all tasks became tenants' tasks at once: ``celery -A support.adopted worker``.

It has what apps have that exist already: a base class of their own with a mixin, tasks that are submitted without a
tenant, a router that goes by the task's name, beat, and ordinary tasks between them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from celery import Celery, Task

from support.canvas import write
from taketurns import TakeTurns, TenantTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Reporting:
    """Notes which task has failed, and passes a trace on to each that is submitted."""

    alarm = "office"

    def on_failure(self, exc: Exception, *_: Any) -> None:
        write(f"{self.alarm}: {exc}")

    def apply_async(self, *args: Any, **options: Any) -> Any:
        headers = {**(options.pop("headers", None) or {}), "trace": "t-1"}
        return super().apply_async(*args, headers=headers, **options)  # type: ignore[misc]


class Base(Reporting, TenantTask):
    """The app's own base class."""

    abstract = True


class OrdinaryBase(Reporting, Task):
    """The same for tasks without tenants."""

    abstract = True
    alarm = "caretaker"


def to_prefix(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any) -> Any:
    """Route a task named "queue:task" to the queue before the colon."""
    return {"queue": name.split(":", maxsplit=1)[0]} if ":" in name else None


def by_customer(
    task: str, args: Sequence[Any], kwargs: Mapping[str, Any], headers: Mapping[str, Any]
) -> str | None:
    """Tell the tenant of a task by its argument ``customer``."""
    return kwargs.get("customer")


app = Celery(
    "adopted", task_cls=Base, backend=os.environ.get("ADOPTED_RESULTS") or os.environ["TAKETURNS_REDIS_URL"]
)
app.conf.update(
    task_default_queue="ordinary",
    broker_connection_retry_on_startup=True,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    result_chord_retry_interval=0.1,
    task_routes=(to_prefix, {"routed": {"queue": "mapped"}, "work": {"queue": "mapped"}}),
    beat_schedule={
        "resolved": {"task": "work", "schedule": 0.5, "args": ("resolved",), "kwargs": {"customer": "beat"}},
        "named": {"task": "work", "schedule": 0.5, "args": ("named",), "options": {"tenant": "named"}},
        "default": {"task": "work", "schedule": 0.5, "args": ("default",)},
        "bad": {"task": "work", "schedule": 0.5, "args": ("bad",), "kwargs": {"customer": "not valid"}},
        "ordinary": {"task": "ordinary", "schedule": 0.5, "args": ("ordinary",)},
        "unknown here": {"task": "elsewhere:task", "schedule": 0.5},
    },
)
TakeTurns(app, tenant_resolver=by_customer, default_tenant="house")


@app.task(name="work", shared=False)
def work(label: str, customer: str | None = None) -> str:
    """Write down for whom it runs."""
    return write(label)


@app.task(name="files:work", shared=False)
def prefixed(label: str, customer: str | None = None) -> str:
    """Be a tenant's task with a name that the router knows."""
    return write(label)


@app.task(name="fan_out", shared=False)
def fan_out(customers: list[str]) -> None:
    """Submit work for several customers, and some for nobody in particular."""
    for customer in customers:
        work.delay(f"for {customer}", customer=customer)
    work.delay("for nobody")
    write("fan out")


@app.task(name="collect", shared=False)
def collect(labels: list[str], customer: str | None = None) -> str:
    """Be a chord's body."""
    return write(" ".join(sorted(labels)))


@app.task(name="again", bind=True, max_retries=1, shared=False)
def again(self: Any, label: str, customer: str | None = None) -> str:
    """Succeed at the second attempt."""
    write(label)
    if self.request.retries == 0:
        raise self.retry(countdown=0.1)
    return label


@app.task(name="paced", rate_limit_per_tenant="1/2s", shared=False)
def paced(label: str) -> str:
    """Have a rate."""
    return write(label)


@app.task(name="fail", shared=False)
def fail(label: str, customer: str | None = None) -> None:
    """Fail."""
    raise ValueError(label)


@app.task(name="ordinary", base=OrdinaryBase, shared=False)
def ordinary(label: str = "ordinary", customer: str | None = None) -> str:
    """Be an ordinary task."""
    return write(label)


@app.task(name="routed", base=OrdinaryBase, shared=False)
def routed(label: str) -> str:
    """Be an ordinary task that task_routes sends elsewhere."""
    return write(label)


@app.task(name="emails:send", base=OrdinaryBase, shared=False)
def send(label: str) -> str:
    """Be an ordinary task whose name says where it goes."""
    return write(label)
