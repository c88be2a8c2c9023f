"""What is broken: each function is one fault, from the moment when it is done to the service's return."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from support.nodes import kill, restart

if TYPE_CHECKING:
    from chaos.scene import Scene


def kill_a_worker(scene: Scene) -> None:
    """Kill -9 one worker with its pool, its main process alone, or one process of its pool; start another."""
    victims = scene.ready()
    if not victims:
        return
    victim = scene.random.choice(victims)
    children = victim.children()
    how = scene.random.choice(("whole", "whole", "head", "child") if children else ("whole",))
    with scene.fault(f"kill -9 of a worker: {how}", worker=victim.name):
        match how:
            case "whole":
                victim.kill()
            case "head":
                victim.behead()
            case _:
                with suppress(ProcessLookupError):
                    os.kill(scene.random.choice(children), signal.SIGKILL)
    if how != "child":
        scene.replace(victim)


def stop_a_worker(scene: Scene) -> None:
    """Have one worker finish what it runs and go, without waiting for it; start another."""
    victims = scene.ready()
    if not victims:
        return
    victim = scene.random.choice(victims)
    with scene.fault("SIGTERM to a worker", worker=victim.name, doubles=False):
        victim.process.terminate()
    scene.leaving.append(victim)
    scene.replace(victim)


def kill_the_broker(scene: Scene) -> None:
    """Kill -9 RabbitMQ, leave it away for up to two seconds, and start it again."""
    with scene.fault("kill -9 of the broker"):
        kill(scene.nodes.broker)
        scene.sleep(scene.random.uniform(0.0, 2.0))
        scene.nodes.broker.start()


def restart_the_broker(scene: Scene) -> None:
    """Stop and start RabbitMQ as an operator does."""
    with scene.fault("restart of the broker"):
        restart(scene.nodes.broker)
