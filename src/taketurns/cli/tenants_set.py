"""``taketurns tenants create`` and ``set``: a tenant's first settings, and changes of them."""

from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from taketurns.cli.output import Json
from taketurns.cli.tenant_options import (
    BurstWhenIdle,
    MaxBacklog,
    MaxConcurrency,
    Metadata,
    PriorityRate,
    Rate,
    Tag,
    TaskRate,
    Weight,
    change_of,
)
from taketurns.cli.tenant_output import Name, print_tenant


def create_tenant(
    context: typer.Context,
    tenant: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The tenant's id; without it batch_ and a UUID.")
    ] = None,
    *,
    rate: Rate = None,
    weight: Weight = None,
    max_concurrency: MaxConcurrency = None,
    burst_when_idle: BurstWhenIdle = None,
    max_backlog: MaxBacklog = None,
    tag: Tag = None,
    priority_rate: PriorityRate = None,
    task_rate: TaskRate = None,
    metadata: Metadata = None,
    paused: Annotated[bool, typer.Option("--paused", help="Let its tasks wait until it is resumed.")] = False,
    as_json: Json = False,
) -> None:
    """Create a tenant with its queue, and print its name.

    That is not needed, since a tenant's first task creates it too. It is for one that is to be limited from the
    beginning, and for a batch of tasks that is a tenant of its own for a while.
    """
    change = change_of(
        rate=rate,
        weight=weight,
        max_concurrency=max_concurrency,
        burst_when_idle=burst_when_idle,
        max_backlog=max_backlog,
        tag=tag,
        untag=None,
        priority_rate=priority_rate,
        task_rate=task_rate,
        metadata=metadata,
    )
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import
    from taketurns.registry import TenantSettings
    from taketurns.roster import look_at

    wanted = asdict(TenantSettings() if change is None else change(TenantSettings()))
    del wanted["created_at"]
    with closing(load_turns_once(context.obj)) as turns:
        name = turns.create(tenant, **{**wanted, "paused": paused})
        if as_json:
            print_tenant(look_at(turns, name, turns.registry.get(name)), as_json=True)
        else:
            typer.echo(name)


def set_tenant(
    context: typer.Context,
    tenant: Name,
    *,
    rate: Rate = None,
    weight: Weight = None,
    max_concurrency: MaxConcurrency = None,
    burst_when_idle: BurstWhenIdle = None,
    max_backlog: MaxBacklog = None,
    tag: Tag = None,
    untag: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Remove a tag; may be repeated.")
    ] = None,
    priority_rate: PriorityRate = None,
    task_rate: TaskRate = None,
    metadata: Metadata = None,
    as_json: Json = False,
) -> None:
    """Change a tenant's settings; what is not given stays. The word none takes a limit away.

    The tenant need not have submitted anything yet. The workers are told at once.
    """
    change = change_of(
        rate=rate,
        weight=weight,
        max_concurrency=max_concurrency,
        burst_when_idle=burst_when_idle,
        max_backlog=max_backlog,
        tag=tag,
        untag=untag,
        priority_rate=priority_rate,
        task_rate=task_rate,
        metadata=metadata,
    )
    if change is None:
        raise typer.BadParameter("give at least one option that says what to change", ctx=context)
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import
    from taketurns.roster import look_at

    with closing(load_turns_once(context.obj)) as turns:
        settings = turns.registry.edit(tenant, change)
        print_tenant(look_at(turns, tenant, settings), as_json=as_json)
