"""``taketurns services``: a private RabbitMQ and Redis for a developer, until they are stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taketurns.services import PrivateNodes

if TYPE_CHECKING:
    from collections.abc import Mapping

app = typer.Typer(
    name="services",
    help="A private RabbitMQ and Redis for development: own ports on 127.0.0.1, own data and credentials.",
    no_args_is_help=True,
)

Directory = Annotated[Path, typer.Option(help="Where their data, logs and credentials are.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_DIRECTORY = Path(".taketurns")
_NAMES = {"rabbitmq": "RabbitMQ", "redis": "Redis"}


@app.command(epilog="Example: export $(taketurns services up)")
def up(directory: Directory = _DIRECTORY, *, as_json: Json = False) -> None:
    """Start what of them is not up, and print their addresses.

    They live on until `taketurns services down`. The lines suit `export $(taketurns services up)`.
    """
    nodes = PrivateNodes(directory)
    down = [_NAMES[name] for name, answers in nodes.status().items() if not answers]
    if down:
        typer.echo(f"Starting {' and '.join(down)} in {nodes.directory} ...", err=True)
        nodes.start_missing(detached=True)
    addresses = _addresses(nodes)
    if as_json:
        typer.echo(json.dumps(addresses))
    else:
        _print(addresses)


@app.command(epilog="Example: taketurns services down")
def down(directory: Directory = _DIRECTORY) -> None:
    """Stop them and wait until they have gone; their data stays."""
    nodes = PrivateNodes(directory)
    nodes.stop()
    typer.echo(f"RabbitMQ and Redis of {nodes.directory} are down.", err=True)


@app.command(epilog="Example: taketurns services status --json")
def status(directory: Directory = _DIRECTORY, *, as_json: Json = False) -> None:
    """Say whether they are up, and where; exit with 1 if one is down."""
    nodes = PrivateNodes(directory)
    states = nodes.status()
    is_up = all(states.values())
    addresses = _addresses(nodes) if is_up else {}
    if as_json:
        typer.echo(json.dumps(states | addresses))
    else:
        for name, answers in states.items():
            typer.echo(f"{name} is {'up' if answers else 'down'}")
        _print(addresses)
    if not is_up:
        raise typer.Exit(1)


def _addresses(nodes: PrivateNodes) -> dict[str, str]:
    return {
        "TAKETURNS_AMQP_URL": nodes.amqp_url,
        "TAKETURNS_MANAGEMENT_URL": nodes.management_url,
        "TAKETURNS_REDIS_URL": nodes.redis_url,
    }


def _print(addresses: Mapping[str, str]) -> None:
    for name, address in addresses.items():
        typer.echo(f"{name}={address}")
