"""A scenario while it is played: the stage is set, things are broken, and in the end every task is accounted for."""

from __future__ import annotations

import random
import socket
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from chaos.crew import Crew, CrewFailed
from chaos.judge import BACK_WITHIN, back_after, met_removals, rate
from chaos.ledger import Ledger
from chaos.memory import Memory
from chaos.story import Fault, Story
from support.progress import say
from support.proxy import Proxy, running
from support.uninterrupted import uninterrupted
from taketurns.management import Management

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from chaos.controls import Control
    from chaos.crew import Member
    from chaos.load import Load
    from support.nodes import FreshNodes
    from taketurns.settings import Settings

POLL: Final = 0.05
UP_WITHIN: Final = 60.0
QUIET: Final = 20.0
"""Seconds without any news after which what is unaccounted for is given up: longer than anybody waits."""
SETTLED_WITHIN: Final = 900.0
_TELL_EVERY = 5.0
_AFTERGLOW = 2.0  # what runs twice does so soon after all has run once


@dataclass(frozen=True)
class Ground:
    """Where a scenario is played.

    Attributes:
        settings: where the servers are.
        directory: the folder of the ledger and the logs.
        nodes: the servers, if they may be killed.
    """

    settings: Settings
    directory: Path
    nodes: FreshNodes | None = None


@dataclass(frozen=True)
class Plan:
    """How much is played.

    Attributes:
        faults: how many faults there are.
        seconds: ends the faults earlier.
        calm: seconds of undisturbed load before the first fault.
        seed: what all choices depend on.
        control: what is taken away, so that tasks must be lost.
        quiet: seconds without any news after which what is unaccounted for is given up.
    """

    faults: int
    seconds: float
    calm: float = 5.0
    seed: int = 0
    control: Control | None = None
    quiet: float = QUIET


class Scene:
    """What the faults and the stage work with. Use [opened][]."""

    def __init__(self, ground: Ground, plan: Plan, stack: ExitStack) -> None:
        self.ground = ground
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.crew = Crew(ground.settings, ground.directory, plan.control)
        self.story = Story()
        self.workers: list[Member] = []
        self.leaving: list[Member] = []
        self.pool = "prefork"
        self.memory = Memory()
        self.veterans: list[Member] = []
        self._proxy: Proxy | None = None
        self._publishers: list[Member] = []
        self._ledger = Ledger(self.crew.ledger_path)
        self._stack = stack

    @property
    def nodes(self) -> FreshNodes:
        """The servers of this scenario's own."""
        if self.ground.nodes is None:
            raise CrewFailed("this scenario ends its servers, so it needs nodes of its own")
        return self.ground.nodes

    @property
    def proxy(self) -> Proxy:
        """The proxy before RabbitMQ."""
        if self._proxy is None:
            raise CrewFailed("in this scenario there is no proxy before RabbitMQ")
        return self._proxy

    @cached_property
    def management(self) -> Management:
        """RabbitMQ's management API."""
        url = str(self.ground.settings.broker.amqp_url)
        vhost = unquote(urlsplit(url).path[1:]) or "/"
        management = Management(self.ground.settings.broker.management_url, vhost=vhost)
        self._stack.callback(management.close)
        return management

    def go_through_a_proxy(self) -> None:
        """Have everything that is started from now on reach RabbitMQ by way of a proxy."""
        broker = self.ground.settings.broker
        self._proxy = self._stack.enter_context(running(str(broker.amqp_url)))
        through = broker.model_copy(update={"amqp_url": self._proxy.url})
        self.crew.settings = replace(self.ground.settings, broker=through)

    def join(self) -> None:
        """Start one more worker, without waiting for it."""
        self.workers.append(self.crew.worker(pool=self.pool))

    def replace(self, gone: Member) -> None:
        """Start a worker in the place of one that has gone or is going."""
        self.workers.remove(gone)
        self.join()

    def staffed(self) -> None:
        """Wait until all workers are up."""
        self.wait(
            lambda: all(each.name in self.story.workers for each in self.workers), "workers that are up"
        )

    def ready(self) -> list[Member]:
        """Return the workers that are up, have not been told to go, and may be."""
        self.hear()
        up = (each for each in self.workers if each.runs and each.name in self.story.workers)
        return [each for each in up if each not in self.veterans]

    def publish(self, load: Load) -> None:
        """Start a publisher process, and wait until it submits."""
        self._publishers.append(self.crew.publisher(replace(load, seed=self.plan.seed)))
        first = f"{load.name}-"
        self.wait(lambda: any(label.startswith(first) for label in self.story.submissions), "submissions")

    def serve(self) -> str:
        """Start the API, and return its address when it listens."""
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            port = free.getsockname()[1]
        api = self.crew.api(port)
        self.wait(lambda: "Uvicorn running on" in api.log, "an API that listens")
        return f"http://127.0.0.1:{port}"

    def stay_calm(self) -> None:
        """Wait for the first task, and then for some time in which nothing is broken."""
        self.wait(lambda: self.story.ran, "a task that has run")
        self.sleep(1.0)
        began = time.time()
        self.sleep(self.plan.calm)
        self.story.calm = (began, time.time())
        say(f"{rate(self.story.ends, *self.story.calm):.0f} tasks/s before anything is broken")

    @contextmanager
    def fault(self, name: str, **details: Any) -> Iterator[None]:
        """Count the block as a [Fault][chaos.story.Fault], from its beginning to its end, with these details."""
        began = time.time()
        yield
        self.story.faults.append(Fault(name, began, time.time(), **details))

    def rounds(self, interval: float) -> Iterator[None]:
        """Return once for each fault of the plan, at this interval, until the plan's seconds are over."""
        began = due = time.monotonic()
        told = 0
        while len(self.story.faults) < self.plan.faults and time.monotonic() < began + self.plan.seconds:
            self.sleep(due - time.monotonic())
            due = max(due + interval, time.monotonic())
            yield
            if (number := len(self.story.faults)) >= told + 5:
                told = number
                say(f"{number} of {self.plan.faults} faults, {self._so_far()}")

    def recover(self) -> None:
        """Wait until the throughput is back, or should be."""
        if self.story.calm is None or not self.story.faults:
            return
        usual = rate(self.story.ends, *self.story.calm)
        returned = self.story.faults[-1].ended
        while time.time() < returned + BACK_WITHIN + 1.0:
            self.hear()
            if back_after(self.story.ends, returned, time.time(), usual) not in {None, inf}:
                return
            time.sleep(POLL)

    def settle(self) -> None:
        """End the load, and wait until every accepted task has run, or nothing has happened for long."""
        for publisher in self._publishers:
            if publisher.runs:
                publisher.process.terminate()
        for publisher in self._publishers:
            publisher.ended()
        deadline = time.monotonic() + SETTLED_WITHIN
        quiet_since = told = time.monotonic()
        while time.monotonic() < deadline:
            if self.hear():
                quiet_since = time.monotonic()
            if time.monotonic() > quiet_since + (self.plan.quiet if self.story.unaccounted else _AFTERGLOW):
                break
            if time.monotonic() > told + _TELL_EVERY:
                told = time.monotonic()
                say(f"settling: {self._so_far()}")
            time.sleep(POLL)
        for member in self.leaving:
            if not member.killed:
                member.ended()

    def exhaust(self, *, races: int = 0) -> None:
        """Wait until all publishers have come to their own end, or the plan's seconds are over.

        Args:
            races: enough submissions that met the removal of their tenant's queue; 0: these are not counted.
        """
        deadline = told = time.monotonic()
        deadline += self.plan.seconds
        while any(publisher.runs for publisher in self._publishers) and time.monotonic() < deadline:
            self.sleep(POLL)
            if time.monotonic() > told + _TELL_EVERY:
                told = time.monotonic()
                if races and self._count_races() >= races:
                    break
                say(self._so_far())

    def _count_races(self) -> int:
        met = len(met_removals(self.story))
        say(f"{len(self.story.removals):,} queues removed, which {met:,} submissions have met")
        return met

    def hear(self) -> int:
        """Read what is new in the ledger; return how much of that is about tasks."""
        return self.story.add(self._ledger.news())

    def sleep(self, seconds: float) -> None:
        """Let time pass, and hear what happens."""
        self.memory.sample(self.crew)
        time.sleep(max(0.0, seconds))
        self.hear()

    def wait(self, condition: Callable[[], object], what: str, *, within: float = UP_WITHIN) -> None:
        """Wait until a condition holds.

        Raises:
            CrewFailed: it doesn't in time, or a process has ended meanwhile.
        """
        deadline = time.monotonic() + within
        while self.hear() is not None and not condition():
            for member in [*self.workers, *self._publishers]:
                if member.process.poll():
                    member.check()
            if time.monotonic() > deadline:
                raise CrewFailed(f"no {what} within {within:g} s")
            time.sleep(POLL)

    def _so_far(self) -> str:
        return f"{len(self.story.submissions):,} tasks submitted, {len(self.story.unaccounted):,} not run yet"


@contextmanager
def opened(ground: Ground, plan: Plan) -> Iterator[Scene]:
    """Open a scene; whatever was started in it has ended when the block has."""
    with ExitStack() as stack:
        scene = Scene(ground, plan, stack)
        try:
            yield scene
        finally:
            with uninterrupted():
                scene.crew.end()
