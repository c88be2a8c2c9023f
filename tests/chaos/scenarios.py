"""The scenarios: what is on the stage, and what of it is broken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from chaos import breaking
from chaos.load import Load

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
        seconds: ends them earlier.
        interval: seconds between two faults.
        control: what is taken away in the control run, which must lose tasks; None: this scenario has none.
        pool: the workers' pool.
        workers: how many workers.
        load: what is submitted.
        api: whether as much is submitted through the HTTP API.
        reaper: the settings of the reaper that runs, if one does.
        own_nodes: whether it needs servers that may be killed.
        recovers: whether to wait after each fault until the throughput is back.
    """

    title: str
    breakages: Sequence[Callable[[Scene], None]]
    faults: int = 24
    hits: int = 20
    seconds: float = 400.0
    interval: float = 2.0
    control: Control | None = None
    pool: str = "prefork"
    workers: int = 3
    load: Load = field(default_factory=lambda: Load("library"))
    api: bool = False
    reaper: Mapping[str, str] | None = None
    own_nodes: bool = False
    recovers: bool = False

    def play(self, scene: Scene) -> None:
        """Set the stage, break things, and wait for the last task."""
        self._set(scene)
        scene.stay_calm()
        for _ in scene.rounds(self.interval):
            scene.random.choice(self.breakages)(scene)
            if self.recovers:
                scene.recover()
        scene.recover()
        scene.settle()

    def _set(self, scene: Scene) -> None:
        scene.pool = self.pool
        for _ in range(self.workers):
            scene.join()
        if self.reaper is not None:
            scene.crew.reaper(**self.reaper)
        scene.staffed()
        scene.publish(self.load)
        if self.api:
            scene.publish(Load("http", rate=10.0, threads=3, url=scene.serve()))


_REAPER: Final[Mapping[str, str]] = {"TAKETURNS_REAPER_RECOVER_INTERVAL": "0.5"}


def _killing(pool: str) -> dict[str, Any]:
    return {
        "breakages": (breaking.kill_a_worker,),
        "pool": pool,
        "control": "late acknowledgements",
    }


SOAK: Final = "soak"

SCENARIOS: Final[Mapping[str, Scenario]] = {
    "kill-workers": Scenario("kill -9 of a random worker every 2 s", **_killing("prefork")),
    "kill-workers-threads": Scenario("the same, threads pool", **_killing("threads")),
    "kill-broker": Scenario(
        "kill -9 or clean restart of RabbitMQ",
        (breaking.kill_the_broker, breaking.kill_the_broker, breaking.restart_the_broker),
        control="confirms",
        api=True,
        reaper=_REAPER,
        own_nodes=True,
        recovers=True,
    ),
}
"""By the names that ``--only`` takes, in the order of a whole run."""
