"""The RabbitMQ nodes to measure on: private ones of the machine's own version, and a 4.3 where its script is."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

import requests

from benchmarks.lab import Broker
from support.nodes import TreeRabbitMQ, fresh_nodes
from support.progress import say
from taketurns.services import PrivateNodes
from taketurns.services.identity import Identity
from taketurns.services.programs import find_program
from taketurns.services.rabbitmq import RabbitMQ
from taketurns.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

SCRIPT: Final = Path(__file__).parents[3] / "shared" / "brokers" / "rabbitmq-4.3"
OWN, NEWER = "own", "4.3"
_START_WITHIN = 600.0  # it installs itself on first use
_TIMEOUT = 10.0
_CTL_TIMEOUT = 60.0  # it starts a runtime of its own, beside busy cores
_NEWER_PORT = 15743  # of its management API, by the script's default


@contextmanager
def brokers(wanted: Sequence[str]) -> Iterator[list[Broker]]:
    """Lend the brokers until the block ends.

    Args:
        wanted: ``own`` for the servers that the settings name, or private ones; ``4.3`` for the node of the script
            in ``shared``; or the two URLs of another RabbitMQ, ``AMQP_URL,MANAGEMENT_URL``. By default the first,
            and the second where its script is.
    """
    wanted = wanted or [OWN, *([NEWER] if SCRIPT.exists() else [])]
    with ExitStack() as stack:
        settings = Settings.load()
        amqp_url, management_url = settings.broker.amqp_url, settings.broker.management_url
        redis_url = settings.redis.redis_url
        if amqp_url is None:
            say("private RabbitMQ and Redis start")
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
            nodes = stack.enter_context(PrivateNodes(directory))
            amqp_url, management_url, redis_url = nodes.amqp_url, nodes.management_url, nodes.redis_url
        found = []
        for each in wanted:
            if each == OWN:
                broker = _broker(amqp_url, management_url, redis_url)
                if settings.broker.amqp_url is None:
                    broker = replace(broker, fresh=partial(_fresh, RabbitMQ), ctl=_ctl_of(directory))
            elif each == NEWER:
                broker = _broker(*stack.enter_context(_newer()), redis_url)
                ctl = partial(_run, [str(SCRIPT), "ctl"], None)
                broker = replace(broker, fresh=partial(_fresh, TreeRabbitMQ), ctl=ctl)
            else:
                first, _, second = each.partition(",")
                broker = _broker(first, second, redis_url)
            found.append(broker)
        yield found


def _ctl_of(directory: Path) -> Callable[..., str] | None:
    """Return what runs ``rabbitmqctl`` on the private node of a directory; None if that is a container's."""
    program, identity = find_program("rabbitmqctl"), Identity.read(directory)
    if program is None or identity is None:
        return None
    return partial(_run, [program, "-q"], RabbitMQ(directory, identity).environment())


def _run(command: list[str], environment: Mapping[str, str] | None, *arguments: str) -> str:
    return subprocess.run(
        [*command, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=_CTL_TIMEOUT,
    ).stdout


@contextmanager
def _fresh(kind: type[RabbitMQ]) -> Iterator[Broker]:
    with fresh_nodes(kind) as nodes:
        node = nodes.identity
        yield replace(_broker(node.amqp_url, node.management_url, node.redis_url), passing=True)


def _broker(amqp_url: str, management_url: str, redis_url: str) -> Broker:
    response = requests.get(f"{management_url}/api/overview", timeout=_TIMEOUT)
    deadline = time.monotonic() + _TIMEOUT
    while response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR and time.monotonic() < deadline:
        time.sleep(0.2)  # a 4.3 that has just started answers other questions before this one
        response = requests.get(f"{management_url}/api/overview", timeout=_TIMEOUT)
    response.raise_for_status()
    version = str(response.json()["rabbitmq_version"])
    return Broker(
        name=f"RabbitMQ {'.'.join(version.split('.')[:2])}",
        version=version,
        amqp_url=amqp_url,
        management_url=management_url,
        redis_url=redis_url,
    )


@contextmanager
def _newer() -> Iterator[tuple[str, str]]:
    """Start the 4.3 node unless it runs already; then it is left running."""
    runs = _listens(_NEWER_PORT)
    say(f"RabbitMQ 4.3 {'runs already' if runs else 'starts'}")
    started = subprocess.run(
        [SCRIPT, "start"], capture_output=True, text=True, check=True, timeout=_START_WITHIN
    )
    urls = dict(line.split("=", 1) for line in started.stdout.splitlines() if "=" in line)
    try:
        yield urls["AMQP_URL"], urls["MANAGEMENT_URL"]
    finally:
        if not runs:
            subprocess.run([SCRIPT, "stop"], check=False, timeout=60)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
