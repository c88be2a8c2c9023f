"""The scenarios: what is on the stage, and what of it is broken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from chaos import breaking
from chaos.ladder import CLIMBERS, bring_down
from chaos.load import Load
from chaos.variables import RESULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chaos.controls import Control
    from chaos.scene import Scene


@dataclass(frozen=True)
class Scenario:
    """One of them.

    Attributes:
        title: what is done.
        breakages: what is broken, one of these at a time, chosen at random.
        faults: how many.
        hits: how many of them at least must hit work in flight.
        races: how many submissions must come while their tenant's queue is being removed; ends the load.
        seconds: ends them earlier.
        interval: seconds between two faults.
        control: what is taken away in the control run, which must lose tasks; None: this scenario has none.
        pool: the workers' pool.
        workers: how many workers.
        load: what is submitted.
        api: whether as much is submitted through the HTTP API.
        reaper: the settings of the reaper that runs, if one does.
        own_nodes: whether it needs servers that may be killed.
        proxied: whether all reach RabbitMQ through a proxy.
        results: whether the tasks' results go into Redis.
        recovers: whether to wait after each fault until the throughput is back.
        climbs: whether tasks wait on every level of the delay ladder meanwhile.
        veteran: whether one worker is left alone, so that its memory can be watched.
    """

    title: str
    breakages: Sequence[Callable[[Scene], None]]
    faults: int = 24
    hits: int = 20
    races: int = 0
    seconds: float = 400.0
    interval: float = 2.0
    control: Control | None = None
    pool: str = "prefork"
    workers: int = 3
    load: Load = field(default_factory=lambda: Load("library"))
    api: bool = False
    reaper: Mapping[str, str] | None = None
    own_nodes: bool = False
    proxied: bool = False
    results: bool = False
    recovers: bool = False
    climbs: bool = False
    veteran: bool = False

    def play(self, scene: Scene) -> None:
        """Set the stage, break things, and wait for the last task."""
        self._set(scene)
        scene.stay_calm()
        if self.load.count:
            scene.exhaust(races=self.races)
        for _ in scene.rounds(self.interval):
            scene.random.choice(self.breakages)(scene)
            if self.recovers:
                scene.recover()
        scene.recover()
        if self.climbs:
            bring_down(scene)
        scene.settle()

    def _set(self, scene: Scene) -> None:
        if self.proxied:
            scene.go_through_a_proxy()
        if self.results:
            scene.crew.variables[RESULTS] = scene.ground.settings.redis.redis_url
        scene.pool = self.pool
        for _ in range(self.workers):
            scene.join()
        if self.reaper is not None:
            scene.crew.reaper(**self.reaper)
        scene.staffed()
        if self.veteran:
            scene.veterans = scene.workers[:1]
        if self.climbs:
            scene.publish(CLIMBERS)
            scene.exhaust()
        scene.publish(self.load)
        if self.api:
            scene.publish(Load("http", rate=10.0, threads=3, url=scene.serve()))


SOAK: Final = "soak"

_RECOVERING: Final[Mapping[str, str]] = {"TAKETURNS_REAPER_RECOVER_INTERVAL": "0.5"}
_AGGRESSIVE: Final[Mapping[str, str]] = {
    "TAKETURNS_REAPER_IDLE_TIME": "0",
    "TAKETURNS_REAPER_INTERVAL": "0.1",
    "TAKETURNS_REAPER_CONFIRM_TIMEOUT": "2",
    "TAKETURNS_REAPER_DRAIN_EXPIRY": "10",
    "TAKETURNS_REAPER_RECOVER_INTERVAL": "0.2",
}

SCENARIOS: Final[Mapping[str, Scenario]] = {
    "kill-workers": Scenario(
        "kill -9 of a random worker, or a part of it, every 2 s",
        (breaking.kill_a_worker,),
        control="late acknowledgements",
    ),
    "kill-workers-threads": Scenario(
        "kill -9 of a random worker every 2 s, threads pool",
        (breaking.kill_a_worker,),
        control="late acknowledgements",
        pool="threads",
    ),
    "stop-workers": Scenario(
        "SIGTERM to a random worker every 2 s: nothing is lost, nothing runs twice",
        (breaking.stop_a_worker,),
    ),
    "kill-broker": Scenario(
        "kill -9 or clean restart of RabbitMQ",
        (breaking.kill_the_broker, breaking.kill_the_broker, breaking.restart_the_broker),
        control="confirms",
        api=True,
        reaper=_RECOVERING,
        own_nodes=True,
        recovers=True,
    ),
    "kill-broker-backlog": Scenario(
        "kill -9 of RabbitMQ while nothing is submitted and four tenants' tasks wait",
        (breaking.kill_the_broker,),
        load=Load("library", tenants=4, rate=1000.0, threads=8, count=14_000, longest=0.1, long_part=0.0),
        own_nodes=True,
        recovers=True,
    ),
    "kill-redis": Scenario(
        "Redis killed, restarted, flushed",
        (breaking.kill_redis, breaking.restart_redis, breaking.flush_redis),
        api=True,
        reaper=_RECOVERING,
        own_nodes=True,
        recovers=True,
    ),
    "kill-redis-results": Scenario(
        "Redis killed, restarted, flushed, while it is the result backend too",
        (breaking.kill_redis, breaking.restart_redis, breaking.flush_redis),
        reaper=_RECOVERING,
        own_nodes=True,
        results=True,
        recovers=True,
    ),
    "network": Scenario(
        "a TCP proxy before RabbitMQ cuts, stalls, slows down, or leaves connections half-open",
        (breaking.cut, breaking.stall, breaking.slow, breaking.forsake),
        control="confirms",
        api=True,
        reaper=_RECOVERING,
        proxied=True,
        recovers=True,
    ),
    "reaper": Scenario(
        "publishers against a reaper that removes the queues of 200 tenants as soon as they are empty",
        (),
        faults=0,
        hits=0,
        races=20_000,
        seconds=1800.0,
        control="draining",
        workers=2,
        load=Load("library", tenants=200, rate=250.0, threads=8, count=300_000, longest=0.005, long_part=0.0),
        reaper=_AGGRESSIVE,
    ),
    "delete-queues": Scenario(
        "tenant queues deleted by hand, connections closed by the broker",
        (breaking.delete_a_queue, breaking.delete_a_queue, breaking.close_the_connections),
        reaper=_RECOVERING,
        recovers=True,
    ),
    "scale": Scenario(
        "a worker joins and another one leaves every second, 500 tenants",
        (breaking.stop_a_worker,),
        interval=1.0,
        faults=40,
        workers=4,
        load=Load("library", tenants=500),
    ),
    "ladder": Scenario(
        "kill -9 or clean restart of RabbitMQ with tasks on every level of the delay ladder",
        (breaking.kill_the_broker, breaking.restart_the_broker),
        load=Load("library", countdowns=(0.0, 0.1, 0.3, 1.0, 3.0)),
        own_nodes=True,
        recovers=True,
        climbs=True,
    ),
    SOAK: Scenario(
        "all at once for ten minutes, and the memory of each process",
        (
            breaking.kill_a_worker,
            breaking.kill_the_broker,
            breaking.restart_the_broker,
            breaking.kill_redis,
            breaking.flush_redis,
            breaking.cut,
            breaking.stall,
            breaking.slow,
            breaking.forsake,
            breaking.delete_a_queue,
            breaking.close_the_connections,
        ),
        faults=10_000,
        seconds=600.0,
        workers=4,
        load=Load("library", tenants=200, countdowns=(0.0, 0.0, 0.5, 2.0)),
        api=True,
        reaper=_AGGRESSIVE,
        own_nodes=True,
        proxied=True,
        recovers=True,
        veteran=True,
    ),
}
"""By the names that ``--only`` takes, in the order of a whole run."""
