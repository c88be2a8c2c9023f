"""The systems compared: how each declares, publishes and is served. Everything else is the same for all."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Self

from kombu import Exchange, Queue

from benchmarks.apps import stock, turns
from benchmarks.fleet import Fleet, fleet
from benchmarks.loader import Loader, Messages, Task
from taketurns import TakeTurns
from taketurns.tenants import TENANT_HEADER, queue_name
from taketurns.topology import EXCHANGE, PRIORITIES, TENANT_QUEUE_ARGUMENTS, declare_shared

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import amqp
    from celery import Celery

    from benchmarks.lab import Lab

USERS = "bench.users"  # the plain recipe's exchange
_SUBSCRIBED_WITHIN = 60.0


class System(ABC):
    """One system in one lab.

    Attributes:
        key: its short name, for the command line and files.
        title: its name in tables.
        on_redis: whether RabbitMQ has no part in it.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    on_redis: ClassVar[bool] = False
    module: ClassVar[str]
    app: Celery

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def declare(self, tenants: Sequence[str]) -> None:
        """Let these tenants' queues exist."""

    @abstractmethod
    def load(self, run: str, tasks: Iterable[Task]) -> int:
        """Publish a backlog; return how many of the tasks were published."""

    @abstractmethod
    def submit(self, run: str, task: Task, *, declare: bool = False) -> float:
        """Publish one task as an application would, and return when it was confirmed.

        Args:
            run: the run.
            task: the task.
            declare: whether the tenant is new, so that what it needs must be declared first.
        """

    @contextmanager
    def workers(self, count: int, tenants: Sequence[str] = ()) -> Iterator[Fleet]:
        """Run workers until the block ends; they serve these tenants when it begins."""
        with fleet(self.lab, self.app, self.module, workers=count) as running:
            self.subscribe(running, tenants)
            yield running

    def subscribe(self, running: Fleet, tenants: Sequence[str]) -> None:  # noqa: B027  # most need nothing
        """Have the workers serve the tenants, where they do not find them by themselves."""

    def get_acquainted(self, tenants: Sequence[str]) -> None:  # noqa: B027  # most need nothing
        """Have this process know the tenants' queues, as one does that has submitted tasks for them before."""

    def close(self) -> None:
        """Close the connections of this process."""
        self.app.pool.force_close_all()
        self.app.close()


class _Stock(System):
    module = "benchmarks.apps.stock"

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.app = stock.build(lab.amqp_url)

    @abstractmethod
    def route(self, tenant: str) -> tuple[str, str]:
        """Return exchange and routing key of a tenant's tasks."""

    def load(self, run: str, tasks: Iterable[Task]) -> int:
        """See the base class."""
        messages = Messages(self.app, stock.TASK, run, priority=0)
        return _load(self.lab, ((*self.route(task.tenant), messages.of(task)) for task in tasks))

    def submit(self, run: str, task: Task, *, declare: bool = False) -> float:
        """See the base class."""
        exchange, key = self.route(task.tenant)
        self.app.tasks[stock.TASK].apply_async((run, *task[1:]), exchange=exchange, routing_key=key)
        return time.time()


class Fifo(_Stock):
    """One queue for all tenants."""

    key = "fifo"
    title = "one FIFO queue"

    def declare(self, tenants: Sequence[str]) -> None:
        """See the base class."""
        with Loader(self.lab.amqp_url) as loader:
            loader.channel.exchange_declare(stock.QUEUE, "direct", durable=True, auto_delete=False)
            loader.declare([stock.QUEUE], exchange=stock.QUEUE, arguments={})

    def route(self, tenant: str) -> tuple[str, str]:
        """See the base class."""
        return stock.QUEUE, stock.QUEUE


class Recipe(_Stock):
    """A queue for each tenant, by ``add_consumer`` on stock workers."""

    key = "recipe"
    title = "queue a user, stock"

    def declare(self, tenants: Sequence[str]) -> None:
        """See the base class."""
        with Loader(self.lab.amqp_url) as loader:
            loader.channel.exchange_declare(USERS, "direct", durable=True, auto_delete=False)
            loader.declare(map(self._queue, tenants), exchange=USERS, arguments={})

    def route(self, tenant: str) -> tuple[str, str]:
        """See the base class."""
        return USERS, self._queue(tenant)

    def submit(self, run: str, task: Task, *, declare: bool = False) -> float:
        """See the base class."""
        if declare:
            queue = self._queue(task.tenant)
            exchange = Exchange(USERS, "direct", durable=True)
            with self.app.producer_pool.acquire(block=True) as producer:
                Queue(queue, exchange, queue, durable=True)(producer.channel).declare()
            self._add(task.tenant)
        return super().submit(run, task)

    def subscribe(self, running: Fleet, tenants: Sequence[str]) -> None:
        """Send ``add_consumer`` for each, and wait until the workers have answered the last one."""
        for tenant in tenants[:-1]:
            self._add(tenant)
        deadline = time.monotonic() + _SUBSCRIBED_WITHIN
        missing = set(running.names if tenants else ())
        while missing and time.monotonic() < deadline:
            replies = self._add(tenants[-1], reply=True, destination=list(missing), timeout=2)
            missing -= {name for reply in replies or [] for name in reply}

    def _add(self, tenant: str, **options: object) -> list[dict[str, object]] | None:
        queue = self._queue(tenant)
        return self.app.control.add_consumer(
            queue, exchange=USERS, exchange_type="direct", routing_key=queue, **options
        )

    def _queue(self, tenant: str) -> str:
        return f"user_{tenant}"


class Turns(System):
    """taketurns."""

    key = "turns"
    title = "taketurns"
    module = "benchmarks.apps.turns"

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.app = turns.build(lab.amqp_url, lab.settings)
        self.turns = TakeTurns.of(self.app)

    def declare(self, tenants: Sequence[str]) -> None:
        """See the base class."""
        with Loader(self.lab.amqp_url) as loader:
            declare_shared(loader.channel)
            loader.declare(
                map(queue_name, tenants), exchange=EXCHANGE, arguments=TENANT_QUEUE_ARGUMENTS["classic"]
            )

    def load(self, run: str, tasks: Iterable[Task], *, name: str = turns.TASK) -> int:
        """See the base class; which of the app's tasks they are may be chosen."""
        messages = Messages(
            self.app,
            name,
            run,
            lambda task: {TENANT_HEADER: task.tenant},
            priority=PRIORITIES["normal"],
        )
        return _load(self.lab, ((EXCHANGE, queue_name(task.tenant), messages.of(task)) for task in tasks))

    def submit(self, run: str, task: Task, *, declare: bool = False) -> float:
        """See the base class."""
        self.app.tasks[turns.TASK].apply_async((run, *task[1:]), tenant=task.tenant)
        return time.time()

    def get_acquainted(self, tenants: Sequence[str]) -> None:
        """See the base class."""
        for tenant in tenants:
            self.turns.publisher.ensure(tenant)

    def status(self, running: Fleet) -> list[dict[str, float]]:
        """Ask each worker what it holds; its answer says too by how much its loop was late since the last time."""
        replies = self.app.control.broadcast(
            "taketurns_status", reply=True, destination=running.names, timeout=2, limit=len(running.names)
        )
        return [answer for reply in replies or [] for answer in reply.values()]

    def close(self) -> None:
        """Close the connections of this process."""
        self.turns.close()
        self.turns.management.close()
        super().close()


class Ranch(System):
    """celery-ranch on Redis."""

    key = "ranch"
    title = "celery-ranch"
    on_redis = True
    module = "benchmarks.apps.ranch"
    load_within = 20.0
    """Seconds after which a backlog that is not published yet stays as it is: each task costs more than the last."""

    def __init__(self, lab: Lab) -> None:
        from benchmarks.apps import ranch  # it needs a package of the bench group

        super().__init__(lab)
        self.app = ranch.build(lab.broker.redis_url, lab.name)
        self._task = self.app.tasks[ranch.TASK]

    def declare(self, tenants: Sequence[str]) -> None:
        """There is nothing to declare."""

    def load(self, run: str, tasks: Iterable[Task]) -> int:
        """See the base class."""
        deadline = time.monotonic() + self.load_within
        count = 0
        for count, task in enumerate(tasks, 1):  # noqa: B007
            self.submit(run, task)
            if time.monotonic() > deadline:
                break
        return count

    def submit(self, run: str, task: Task, *, declare: bool = False) -> float:
        """See the base class."""
        self._task.lru_delay(task.tenant, run, *task[1:])
        return time.time()


def _load(lab: Lab, messages: Iterable[tuple[str, str, amqp.Message]]) -> int:
    count = 0
    with Loader(lab.amqp_url) as loader:
        for exchange, routing_key, message in messages:
            loader.publish(exchange, routing_key, message)
            count += 1
        loader.confirm()
    return count


SYSTEMS: dict[str, type[System]] = {kind.key: kind for kind in (Fifo, Recipe, Ranch, Turns)}
