"""Messages on every level of the delay ladder, and how they come down before their time."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

from pika import BlockingConnection, URLParameters

from chaos.load import Load
from support.progress import say
from taketurns.delays import LEVELS, STEP, exchange_name
from taketurns.topology import EXCHANGE

if TYPE_CHECKING:
    from chaos.scene import Scene

ON_EACH: Final = 5

CLIMBERS: Final = Load(
    "climber",
    threads=1,
    rate=100.0,
    count=ON_EACH * LEVELS,
    countdowns=tuple(STEP * 2**level for level in range(LEVELS)),
)
"""Submits some tasks for each level, of which most would be due in hours, or in weeks."""


def bring_down(scene: Scene) -> None:
    """Send on what still waits on the ladder, as if it were due, each message once its copy is confirmed."""
    moved = {}
    parameters = URLParameters(str(scene.ground.settings.broker.amqp_url))
    parameters.virtual_host = scene.management.vhost
    with closing(BlockingConnection(parameters)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for level in range(LEVELS):
            name = exchange_name(level)
            moved[name] = 0
            while (found := channel.basic_get(name))[0] is not None:
                method, properties, body = found
                channel.basic_publish(EXCHANGE, method.routing_key, body, properties, mandatory=True)
                channel.basic_ack(method.delivery_tag)
                moved[name] += 1
    say(f"{sum(moved.values())} tasks were still on {sum(map(bool, moved.values()))} levels of the ladder")
