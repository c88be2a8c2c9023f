"""``taketurns schedules``: tasks that ``celery beat`` submits for tenants again and again."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from taketurns.cli.output import Json  # noqa: TC001  # typer reads it
from taketurns.cli.schedule_output import print_schedule, print_schedules, warn_without_beat
from taketurns.cli.tenants_submit import number, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.schedules import Schedule, Schedules

app = typer.Typer(
    name="schedules",
    help="Schedules: tasks that celery beat submits for tenants, by the clock or at an interval.",
    no_args_is_help=True,
)

_NONE: Final = "none"

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id, or an owner's.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
OfCron = Annotated[
    str | None,
    typer.Option(
        "--cron",
        metavar="FIELDS",
        help="When: minute, hour, day of month, month, day of week, such as '*/5 * * * *'.",
    ),
]
OfEvery = Annotated[
    str | None, typer.Option("--every", metavar="DURATION", help="At an interval instead, as 30s, 5m or 1d.")
]
OfTimezone = Annotated[
    str | None,
    typer.Option(metavar="ZONE", help="The time zone of --cron, such as Europe/Berlin; else the app's."),
]
OfMissed = Annotated[
    str | None,
    typer.Option(
        metavar="POLICY", help="What becomes of runs while no beat ran: skip (default), once or all."
    ),
]
OfPriority = Annotated[
    Literal["low", "normal", "high", "none"] | None,
    typer.Option(metavar="PRIORITY", help="low, normal or high; none (default): the task's own."),
]
OfExpires = Annotated[
    str | None,
    typer.Option(
        metavar="SECONDS",
        help="How long after its submission a run may still start; none (default): as the task says.",
    ),
]
OfArgs = Annotated[str | None, typer.Option(metavar="JSON", help="Its positional arguments, a JSON list.")]
OfKwargs = Annotated[str | None, typer.Option(metavar="JSON", help="Its keyword arguments, a JSON object.")]


@app.command(
    epilog="Example: taketurns -A shop schedules create acme nightly shop.thumbnail --args '[\"i-1\"]' "
    "--cron '30 2 * * *' --timezone Europe/Berlin"
)
def create(
    context: typer.Context,
    tenant: Tenant,
    name: Name,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name, exposed or not.")],
    *,
    cron: OfCron = None,
    every: OfEvery = None,
    timezone: OfTimezone = None,
    args: OfArgs = None,
    kwargs: OfKwargs = None,
    missed: OfMissed = None,
    priority: OfPriority = None,
    expires: OfExpires = None,
    paused: Annotated[bool, typer.Option("--paused", help="Submit nothing until it is resumed.")] = False,
    as_json: Json = False,
) -> None:
    """Create a schedule; a celery beat of the app submits its tasks."""
    if (cron is None) == (every is None):
        raise typer.BadParameter("give either --cron or --every", ctx=context)
    given = _given(
        context,
        cron=cron,
        every=every,
        timezone=timezone,
        args=args,
        kwargs=kwargs,
        missed=missed,
        priority=priority,
        expires=expires,
    )
    with _schedules(context) as schedules:
        schedule = schedules.create(tenant, name, task, paused=paused, **given)
        _tell(schedules, schedule, as_json=as_json)


@app.command("set", epilog="Example: taketurns -A shop schedules set acme nightly --every 12h --missed once")
def change(
    context: typer.Context,
    tenant: Tenant,
    name: Name,
    *,
    task: Annotated[str | None, typer.Option(metavar="TASK", help="The task's name.")] = None,
    cron: OfCron = None,
    every: OfEvery = None,
    timezone: OfTimezone = None,
    args: OfArgs = None,
    kwargs: OfKwargs = None,
    missed: OfMissed = None,
    priority: OfPriority = None,
    expires: OfExpires = None,
    as_json: Json = False,
) -> None:
    """Change what is given of a schedule; with another timing it is due anew from now on."""
    if cron is not None and every is not None:
        raise typer.BadParameter("give either --cron or --every", ctx=context)
    given = _given(
        context,
        task=task,
        cron=cron,
        every=every,
        timezone=timezone,
        args=args,
        kwargs=kwargs,
        missed=missed,
        priority=priority,
        expires=expires,
    )
    if not given:
        raise typer.BadParameter("say what to change, such as --every 12h", ctx=context)
    with _schedules(context) as schedules:
        _tell(schedules, schedules.update(tenant, name, **given), as_json=as_json)


@app.command("list", epilog="Example: taketurns -A shop schedules list acme")
def list_schedules(
    context: typer.Context,
    tenant: Annotated[
        str | None, typer.Argument(metavar="[TENANT]", help="Those of this tenant; else all.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """List schedules, with when they are due, and say if no beat runs."""
    from taketurns.api.schemas.schedules import ScheduleList
    from taketurns.api.views import schedule_view

    with _schedules(context) as schedules:
        found, beat = schedules.list(tenant), schedules.beat()
    if as_json:
        listed = ScheduleList(schedules=list(map(schedule_view, found)), beat=beat is not None)
        typer.echo(listed.model_dump_json())
        return
    if found:
        print_schedules(found)
    else:
        typer.echo("There are no schedules.", err=True)
    warn_without_beat(beat)


@app.command(epilog="Example: taketurns -A shop schedules show acme nightly")
def show(context: typer.Context, tenant: Tenant, name: Name, *, as_json: Json = False) -> None:
    """Show a schedule: when it is due, and what became of its last run."""
    with _schedules(context) as schedules:
        _tell(schedules, schedules.get(tenant, name), as_json=as_json)


@app.command(epilog="Example: taketurns -A shop schedules pause acme nightly")
def pause(context: typer.Context, tenant: Tenant, name: Name, *, as_json: Json = False) -> None:
    """Submit nothing until it is resumed; what is due meanwhile is not made up for."""
    with _schedules(context) as schedules:
        schedule = schedules.pause(tenant, name)
        _tell(schedules, schedule, as_json=as_json, briefly=f"{tenant}/{name} is paused.")


@app.command(epilog="Example: taketurns -A shop schedules resume acme nightly")
def resume(context: typer.Context, tenant: Tenant, name: Name, *, as_json: Json = False) -> None:
    """Have a paused schedule due again, from now on."""
    with _schedules(context) as schedules:
        schedule = schedules.resume(tenant, name)
        _tell(schedules, schedule, as_json=as_json, briefly=f"{tenant}/{name} is resumed.")


@app.command(epilog="Example: taketurns -A shop schedules remove acme nightly")
def remove(context: typer.Context, tenant: Tenant, name: Name, *, as_json: Json = False) -> None:
    """Remove a schedule; the tasks that it has submitted run."""
    with _schedules(context) as schedules:
        schedules.remove(tenant, name)
    removed = {"tenant": tenant, "name": name, "removed": True}
    typer.echo(json.dumps(removed) if as_json else f"{tenant}/{name} is removed.")


@contextmanager
def _schedules(context: typer.Context) -> Iterator[Schedules]:
    from taketurns.cli.application import load_turns_once  # Celery takes its time to import

    with closing(load_turns_once(context.obj)) as turns:
        yield turns.schedules


def _given(
    context: typer.Context,
    *,
    args: str | None,
    kwargs: str | None,
    priority: str | None,
    expires: str | None,
    **others: str | None,
) -> dict[str, Any]:
    given: dict[str, Any] = {name: value for name, value in others.items() if value is not None}
    if priority is not None:
        given["priority"] = None if priority == _NONE else priority
    if expires is not None:
        given["expires"] = None if expires == _NONE else number(expires)
    if args is not None:
        given["args"] = read_json(context, args, list, option="--args")
    if kwargs is not None:
        given["kwargs"] = read_json(context, kwargs, dict, option="--kwargs")
    return given


def _tell(schedules: Schedules, schedule: Schedule, *, as_json: bool, briefly: str = "") -> None:
    """Print a schedule: as one JSON object, the same as over HTTP, or for people."""
    from taketurns.api.views import schedule_view

    if as_json:
        typer.echo(schedule_view(schedule).model_dump_json())
        return
    if briefly:
        typer.echo(briefly)
    else:
        print_schedule(schedule)
    if not schedule.paused:
        warn_without_beat(schedules.beat())
