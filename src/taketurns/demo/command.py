"""The demo's command line: options, servers, signals, and what is told to the user."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn
from urllib.parse import unquote, urlsplit

import typer
from kombu.exceptions import OperationalError
from redis import RedisError
from rich.console import Console

from taketurns.demo import show
from taketurns.demo.errors import DemoFailed
from taketurns.demo.place import own_place
from taketurns.demo.stage import IDLE_TIME, Stage
from taketurns.demo.traffic import Counts
from taketurns.errors import TaketurnsError
from taketurns.services import PrivateNodes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from taketurns.demo.place import Place

_SERVERS: Final = ("TAKETURNS_AMQP_URL", "TAKETURNS_MANAGEMENT_URL", "TAKETURNS_REDIS_URL")
_NAME: Final = "taketurns-demo"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def demo(
    *,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", envvar="KEEP", help="Leave everything up at the end, until Ctrl-C, and say where."
        ),
    ] = False,
    scale: Annotated[
        float,
        typer.Option(min=0.01, max=10, help="So many times as many tasks; below 0.2 chance has its say."),
    ] = 1.0,
    directory: Annotated[
        Path, typer.Option(help="For the logs, and for the data of RabbitMQ and Redis.")
    ] = Path(".taketurns/demo"),
) -> None:
    """Show a noisy neighbour beside other tenants, through tenant queues and through one queue.

    Starts RabbitMQ, Redis, the API, two workers, the reaper and Flower, all for itself, and stops them at the end.
    With TAKETURNS_AMQP_URL, TAKETURNS_MANAGEMENT_URL and TAKETURNS_REDIS_URL it plays on servers that run already,
    in a vhost and under a key prefix of its own. Exits with 0 if everything that it promises was kept, else with 1.
    """
    _end_on_signals()
    console = Console(highlight=False, soft_wrap=True)
    try:
        with ExitStack() as running:
            directory = directory.resolve()
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = running.enter_context(_place(directory, console))
            console.print("Starting the API, two workers, the reaper and Flower ...")
            stage = running.enter_context(Stage(place, directory))
            kept = show.run(stage, Counts().scaled(scale), console)
            if keep:
                _stay(stage, console)
            console.print("Stopping everything ...")
    except (TaketurnsError, RedisError, OperationalError) as error:  # a server ended: told as the rest is
        sys.stderr.write(f"taketurns demo: {error}\n")
        raise typer.Exit(1) from None
    console.print("Everything that the demo started has ended.")
    if not kept:
        raise typer.Exit(1)


@contextmanager
def _place(directory: Path, console: Console) -> Iterator[Place]:
    """Yield the demo's place on the servers that are given, or else on private ones."""
    given = [os.environ.get(name) for name in _SERVERS]
    console.print(f"Logs are in {directory}")
    match given:
        case [str(amqp_url), str(management_url), str(redis_url)] if all(given):
            name = f"{_NAME}-{secrets.token_hex(4)}"
            console.print(f"Using the given servers: vhost {name}, keys {name}:*")
            with own_place(amqp_url, management_url, redis_url, name) as place:
                yield place
        case _ if any(given):
            raise DemoFailed(f"set all of {', '.join(_SERVERS)}, or none of them")
        case _:
            console.print("Starting RabbitMQ and Redis ...")
            with PrivateNodes(directory) as nodes:
                urls = nodes.amqp_url, nodes.management_url, nodes.redis_url
                with own_place(*urls, _NAME) as place:
                    yield place


def _stay(stage: Stage, console: Console) -> NoReturn:
    """Say where everything is, and watch over it until a signal ends the demo."""
    management = urlsplit(stage.place.management_url)
    user, password = (unquote(part or "guest") for part in (management.username, management.password))
    host = management.netloc.rpartition("@")[2]
    token = stage.token("acme")
    console.print(
        f"\nAPI docs             {stage.api_url}/docs\n"
        f"Flower               {stage.flower_url}\n"
        f"RabbitMQ management  {management.scheme}://{host}/#/queues?vhost={stage.place.name}  "
        f"user {user}, password {password}\n"
        f"An operator's token  {stage.token('operator', operator=True)}\n\n"
        "Submit a task as the tenant acme, then ask for it by its task_id at /tasks/<task_id>:\n\n"
        f"  curl -X POST {stage.api_url}/tasks -H 'Authorization: Bearer {token}' \\\n"
        """    -H 'Content-Type: application/json' -d '{"name": "demo.greet", "args": ["World"]}'\n\n"""
        f"Its queue is removed {IDLE_TIME:.0f} s after its last task. Ctrl-C ends the demo.",
        markup=False,
    )
    while True:
        stage.check()
        stage.refresh_flower()
        time.sleep(1)


def _end_on_signals() -> None:
    """Let the first signal end the demo in order; later ones don't disturb that."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        sys.stderr.write("\nStopping everything ...\n")
        raise SystemExit(128 + number)

    for each in signals:
        signal.signal(each, end)
