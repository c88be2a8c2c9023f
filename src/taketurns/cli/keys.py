"""``taketurns keys``: API keys for the HTTP API."""

from __future__ import annotations

import json
import re
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from taketurns.cli.output import Json, print_table
from taketurns.durations import UNIT_SECONDS
from taketurns.errors import InvalidInput, TaketurnsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.registry.api_keys import ApiKey, ApiKeys

app = typer.Typer(
    name="keys", help="API keys for the HTTP API: create, list and revoke them.", no_args_is_help=True
)


@app.command(epilog="Example: taketurns -A shop keys create acme --name 'nightly import' --expires 90d")
def create(
    context: typer.Context,
    tenant: Annotated[
        str, typer.Argument(metavar="TENANT", help="The tenant, or the owner, that it speaks for.")
    ],
    *,
    operator: Annotated[bool, typer.Option("--operator", help="Let it see and change all tenants.")] = False,
    name: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="How long it is valid, as 90d or 12h; without it until revoked."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an API key and print it, this once: only its hash is kept."""
    expires_in = None if expires is None else _seconds(expires)
    with _keys(context) as keys:
        text, key = keys.create(tenant, operator=operator, name=name, expires_in=expires_in)
    if as_json:
        typer.echo(json.dumps({**asdict(key), "key": text}))
        return
    typer.echo(text)
    typer.echo(f"That is the key, which is not shown again. Its id is {key.id}.", err=True)


@app.command("list", epilog="Example: taketurns -A shop keys list")
def list_keys(context: typer.Context, *, as_json: Json = False) -> None:
    """List the API keys that were not revoked."""
    with _keys(context) as keys:
        found = keys.all()
    if as_json:
        typer.echo(json.dumps([asdict(key) for key in found]))
    elif found:
        columns = ("id", "tenant", "operator", "name", "created (UTC)", "expires (UTC)")
        print_table(columns, map(_row, found))
    else:
        typer.echo("There are no API keys.", err=True)


@app.command(epilog="Example: taketurns -A shop keys revoke 3f9c2a1b7d4e")
def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys list` shows it.")],
    *,
    as_json: Json = False,
) -> None:
    """Take an API key away, for good and from the next request on."""
    with _keys(context) as keys:
        was_there = keys.revoke(key_id)
    if not was_there:
        raise TaketurnsError(f"there is no API key of the id {key_id!r}; `taketurns keys list` shows all")
    typer.echo(json.dumps({"id": key_id, "revoked": True}) if as_json else f"{key_id} is revoked.")


@contextmanager
def _keys(context: typer.Context) -> Iterator[ApiKeys]:
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    with closing(load_turns_once(context.obj)) as turns:
        yield turns.registry.api_keys


def _seconds(duration: str) -> float:
    from taketurns.registry.api_keys import LONGEST  # Redis takes its time to import

    match = re.fullmatch(r"([0-9]{1,6})([mhd])", duration)
    seconds = int(match[1]) * UNIT_SECONDS[match[2]] if match else 0
    if not 0 < seconds <= LONGEST:
        accepted = "a whole number and one of m, h and d (minutes, hours, days), such as 90d; 3660d at most"
        raise InvalidInput(duration, accepted, field="--expires")
    return seconds


def _row(key: ApiKey) -> tuple[object, ...]:
    return (
        key.id,
        key.tenant,
        "yes" if key.operator else "",
        key.name,
        _date(key.created_at),
        "never" if key.expires_at is None else _date(key.expires_at),
    )


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
