"""``taketurns tenants``: see tenants, and pause and resume them; ``set`` has a file of its own."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from taketurns.cli import tenants_set
from taketurns.cli.output import Json, print_table
from taketurns.cli.tenant_output import Name, print_tenant, tagged
from taketurns.errors import TaketurnsError

if TYPE_CHECKING:
    from taketurns.api.schemas import TenantView

app = typer.Typer(name="tenants", help="See tenants and change their settings.", no_args_is_help=True)
app.command(
    "set", epilog="Example: taketurns -A shop tenants set acme --rate 10/60s --weight 2 --tag plan=pro"
)(tenants_set.set_tenant)


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
    from taketurns.api.views import KnownTenants
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import
    from taketurns.registry.tags import read_tags

    tags = read_tags(tag or (), field="--tag")
    known = KnownTenants(load_turns_once(context.obj), tags=tags)
    views = [known.view(tenant) for tenant in known.names]
    if as_json:
        typer.echo(json.dumps([view.model_dump() for view in views]))
    elif views:
        print_table(
            ("tenant", "waiting", "may wait", "rate", "weight", "at once", "paused", "tags"),
            (_row(view) for view in views),
        )
    else:
        typer.echo("There are no such tenants." if tags else "There are no tenants.", err=True)


@app.command(epilog="Example: taketurns -A shop tenants show acme")
def show(context: typer.Context, tenant: Name, *, as_json: Json = False) -> None:
    """Show a tenant's settings and what waits in its queue."""
    from taketurns.api.views import known_tenant
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    view = known_tenant(load_turns_once(context.obj), tenant)
    if view is None:
        raise _unknown(tenant)
    print_tenant(view, as_json=as_json)


@app.command(epilog="Example: taketurns -A shop tenants explain acme")
def explain(context: typer.Context, tenant: Name, *, as_json: Json = False) -> None:
    """Say why a tenant's next task has not started."""
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    found = load_turns_once(context.obj).explain(tenant)
    if found.reason == "unknown":
        raise _unknown(tenant)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    typer.echo(f"{tenant}: {found.message}.")
    if found.silent:
        typer.echo(f"Without an answer from {', '.join(found.silent)}.")


@app.command(epilog="Example: taketurns -A shop tenants pause acme")
def pause(context: typer.Context, tenant: Name) -> None:
    """Hold a tenant's tasks back. What runs, runs on."""
    _pause(context, tenant, paused=True)
    typer.echo(f"{tenant} is paused; its tasks wait in their queue.")


@app.command(epilog="Example: taketurns -A shop tenants resume acme")
def resume(context: typer.Context, tenant: Name) -> None:
    """Let a tenant's tasks run again."""
    _pause(context, tenant, paused=False)
    typer.echo(f"{tenant} is not paused.")


def _pause(context: typer.Context, tenant: str, *, paused: bool) -> None:
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    load_turns_once(context.obj).registry.update(tenant, paused=paused)


def _unknown(tenant: str) -> TaketurnsError:
    return TaketurnsError(f"there is no tenant {tenant!r}: it has neither a queue nor settings")


def _row(view: TenantView) -> tuple[object, ...]:
    waiting = view.backlog and view.backlog.ready
    return (
        view.tenant,
        "unknown" if waiting is None else waiting,
        view.max_backlog or "",
        view.rate_limit or "",
        f"{view.weight:g}",
        view.max_concurrency or "",
        "yes" if view.paused else "",
        tagged(view.tags),
    )
