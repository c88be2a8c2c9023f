"""What is broken: each function is one fault, from the moment when it is done to the service's return."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import requests
from redis import Redis

from support.nodes import kill, restart
from taketurns.tenants import tenant_of

if TYPE_CHECKING:
    from chaos.scene import Scene

_UNNOTICED: Final = 12.0  # three heartbeats, for the worker and the broker
_TIMEOUT: Final = 10.0


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
    """Kill -9 RabbitMQ, leave it away for up to two seconds, and start it again.

    It writes acknowledgements down when a queue has a rest, so their messages may come back; the tasks' records tell
    that they have ended.
    """
    with scene.fault("kill -9 of the broker", unwrites=True):
        kill(scene.nodes.broker)
        scene.sleep(scene.random.uniform(0.0, 2.0))
        scene.nodes.broker.start()


def restart_the_broker(scene: Scene) -> None:
    """Stop and start RabbitMQ as an operator does."""
    with scene.fault("restart of the broker"):
        restart(scene.nodes.broker)


def kill_redis(scene: Scene) -> None:
    """Kill -9 Redis, leave it away for up to two seconds, and start it again; no task may notice."""
    with scene.fault("kill -9 of Redis", doubles=False, redis="away"):
        kill(scene.nodes.redis)
        scene.sleep(scene.random.uniform(0.0, 2.0))
        scene.nodes.redis.start()


def restart_redis(scene: Scene) -> None:
    """Stop and start Redis as an operator does; no task may notice."""
    with scene.fault("restart of Redis", doubles=False, redis="away"):
        restart(scene.nodes.redis)


def flush_redis(scene: Scene) -> None:
    """Have Redis lose all that it holds; no task may notice."""
    with (
        scene.fault("flush of Redis", doubles=False, redis="empty"),
        Redis.from_url(scene.ground.settings.redis.redis_url) as redis,
    ):
        redis.flushall()


def cut(scene: Scene) -> None:
    """End all connections to RabbitMQ."""
    with scene.fault("connections cut"):
        scene.proxy.cut()


def stall(scene: Scene) -> None:
    """Have nothing get through for some seconds, sometimes for longer than anybody waits."""
    with scene.fault("network stalled", after=_UNNOTICED):
        scene.proxy.stall()
        scene.sleep(scene.random.uniform(1.0, 10.0))
        scene.proxy.answer()


def slow(scene: Scene) -> None:
    """Have little get through for some seconds."""
    with scene.fault("network slow", after=_UNNOTICED):
        scene.proxy.slow(20_000)
        scene.sleep(scene.random.uniform(2.0, 6.0))
        scene.proxy.slow(inf)


def forsake(scene: Scene) -> None:
    """Leave all connections half-open: neither side is told that the other one is gone."""
    with scene.fault("connections half-open", after=_UNNOTICED):
        scene.proxy.forsake()


def delete_a_queue(scene: Scene) -> None:
    """Delete a tenant's queue by hand, with whatever is in it, which cancels its consumers."""
    queues = sorted(scene.management.tenant_queues())
    if not queues:
        return
    queue = scene.random.choice(queues)
    with scene.fault("queue deleted by hand", tenant=tenant_of(queue), doubles=False):
        scene.management.delete_queue(queue, if_empty=False, if_unused=False)


def close_the_connections(scene: Scene) -> None:
    """Have RabbitMQ close all connections, as an operator can in its pages."""
    with scene.fault("connections closed by the broker"):
        vhost = quote(scene.management.vhost, safe="")
        for each in requests.get(_api(scene, f"vhosts/{vhost}/connections"), timeout=_TIMEOUT).json():
            requests.delete(_api(scene, f"connections/{quote(each['name'], safe='')}"), timeout=_TIMEOUT)


def _api(scene: Scene, path: str) -> str:
    return f"{scene.ground.settings.broker.management_url}/api/{path}"
