"""``taketurns tenants``: see tenants, pause and resume them; what else is done with them has files of its own."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from taketurns.cli import tenants_remove, tenants_set, tenants_submit
from taketurns.cli.output import Json, print_table
from taketurns.cli.tenant_output import Name, print_statistics, print_tenant, tagged
from taketurns.errors import TaketurnsError, UnknownTenant
from taketurns.tenants import validate_tenant

if TYPE_CHECKING:
    from taketurns import TakeTurns
    from taketurns.roster import KnownTenant

app = typer.Typer(
    name="tenants", help="See tenants, change their settings, purge and remove them.", no_args_is_help=True
)
app.command("create", epilog='Example: taketurns -A shop tenants create --rate "5/1m" --tag plan=trial')(
    tenants_set.create_tenant
)
app.command(
    "set", epilog="Example: taketurns -A shop tenants set acme --rate 10/60s --weight 2 --tag plan=pro"
)(tenants_set.set_tenant)
app.command("purge", epilog="Example: taketurns -A shop tenants purge acme --yes")(tenants_remove.purge)
app.command("remove", epilog="Example: taketurns -A shop tenants remove acme --force")(tenants_remove.remove)
app.command(
    "submit",
    epilog="Example: taketurns -A shop tenants submit acme shop.thumbnail --args '[\"i-1\"]' --count 10 --wait 30",
)(tenants_submit.submit)


@app.command("list", epilog="Example: taketurns -A shop tenants list --tag plan=pro --tag region=eu")
def list_tenants(
    context: typer.Context,
    *,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only those with this tag; repeat for more.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the tenants that have a queue or settings of their own."""
    from taketurns.api.views import tenant_view
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import
    from taketurns.registry.tags import read_tags

    tags = read_tags(tag or (), field="--tag")
    with closing(load_turns_once(context.obj)) as turns:
        known = turns.list(tags=tags)
    if as_json:
        typer.echo(json.dumps([tenant_view(each).model_dump() for each in known]))
    elif known:
        print_table(
            ("tenant", "waiting", "may wait", "rate", "weight", "at once", "paused", "tags"), map(_row, known)
        )
    else:
        typer.echo("There are no such tenants." if tags else "There are no tenants.", err=True)


@app.command(epilog="Example: taketurns -A shop tenants show acme")
def show(context: typer.Context, tenant: Name, *, as_json: Json = False) -> None:
    """Show a tenant's settings and what waits in its queue."""
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import
    from taketurns.roster import known_tenant

    with closing(load_turns_once(context.obj)) as turns:
        print_tenant(known_tenant(turns, tenant), as_json=as_json)


@app.command("of", epilog="Example: taketurns -A shop tenants of ann@acme")
def tenant_of_owner(
    context: typer.Context,
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="Who submits, as a token's claim names it.")],
    *,
    as_json: Json = False,
) -> None:
    """Say which tenant's queue and limits an owner's tasks have: its own, unless a tenant key maps it."""
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    with closing(load_turns_once(context.obj)) as turns:
        tenant = turns.tenant_of(owner)
    typer.echo(json.dumps({"owner": owner, "tenant": tenant}) if as_json else tenant)


@app.command(epilog="Example: taketurns -A shop tenants stats acme")
def stats(context: typer.Context, tenant: Name, *, as_json: Json = False) -> None:
    """Say how many tasks of a tenant wait, run and have ended, and how its rates stand."""
    from taketurns.api.views import statistics
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    with closing(load_turns_once(context.obj)) as turns:
        found = statistics(turns, tenant)
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        print_statistics(found)


@app.command(epilog="Example: taketurns -A shop tenants explain acme")
def explain(context: typer.Context, tenant: Name, *, as_json: Json = False) -> None:
    """Say why a tenant's next task has not started."""
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    with closing(load_turns_once(context.obj)) as turns:
        found = turns.explain(tenant)
    if found.reason == "unknown":
        raise UnknownTenant(tenant)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    typer.echo(f"{tenant}: {found.message}.")
    if found.silent:
        typer.echo(f"Without an answer from {', '.join(found.silent)}.")


@app.command(epilog="Example: taketurns -A shop tenants pause acme")
def pause(context: typer.Context, tenant: Name, *, as_json: Json = False) -> None:
    """Hold a tenant's tasks back. What runs, runs on."""
    _pause(context, tenant, paused=True, as_json=as_json)


@app.command(epilog="Example: taketurns -A shop tenants resume acme")
def resume(context: typer.Context, tenant: Name, *, as_json: Json = False) -> None:
    """Let a tenant's tasks run again."""
    _pause(context, tenant, paused=False, as_json=as_json)


def _pause(context: typer.Context, tenant: str, *, paused: bool, as_json: bool) -> None:
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import
    from taketurns.roster import look_at

    validate_tenant(tenant)
    with closing(load_turns_once(context.obj)) as turns:
        _check_known(
            turns, tenant, hint=f"; to begin with a pause: tenants create {tenant} --paused" if paused else ""
        )
        found = look_at(turns, tenant, turns.update(tenant, paused=paused))
    if as_json:
        print_tenant(found, as_json=True)
        return
    how = "is paused; its tasks wait in their queue" if paused else "is not paused"
    if found.has_queue is False:
        how += ", which is not there yet" if paused else "; it has no queue yet"
    typer.echo(f"{tenant} {how}.")


def _check_known(turns: TakeTurns, tenant: str, *, hint: str) -> None:
    """Check that a tenant is known, as far as the servers tell: its name may be misspelt."""
    from taketurns.registry import TenantSettings
    from taketurns.roster import look_at

    if not turns.registry.exists(tenant) and look_at(turns, tenant, TenantSettings()).has_queue is False:
        raise TaketurnsError(f"{UnknownTenant(tenant)}{hint}")


def _row(known: KnownTenant) -> tuple[object, ...]:
    settings = known.settings
    return (
        known.tenant,
        "unknown" if known.ready is None else known.ready,
        settings.max_backlog or "",
        settings.rate_limit or "",
        f"{settings.weight:g}",
        settings.max_concurrency or "",
        "yes" if settings.paused else "",
        tagged(settings.tags),
    )
