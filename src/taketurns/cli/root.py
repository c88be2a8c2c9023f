"""The command itself: its options, its commands, and how errors are told."""

import errno
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Final

import typer

from taketurns import __version__
from taketurns.cli import (
    adopt,
    api,
    canary,
    dead,
    doctor,
    keys,
    monitor,
    reaper,
    rollback,
    schedules,
    services,
    status,
    tasks,
    tenants,
    token,
    workers,
)
from taketurns.errors import TaketurnsError
from taketurns.settings import CONFIG_VARIABLE

app = typer.Typer(
    name="taketurns",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("adopt", epilog="Example: taketurns -A shop adopt celery --dry-run")(adopt.adopt)
app.command("api", epilog="Example: taketurns -A shop api --port 8000")(api.api)
app.command("canary", epilog="Example: taketurns -A shop canary --percent 10 --tenants acme,bolt")(
    canary.canary
)
app.command("doctor", epilog="Example: taketurns -A shop doctor")(doctor.doctor)
app.command("monitor", epilog="Example: taketurns -A shop monitor --sort failed --interval 5")(
    monitor.monitor
)
app.command("reaper", epilog="Example: taketurns -A shop reaper --dry-run")(reaper.reaper)
app.command("rollback", epilog="Example: taketurns -A shop rollback --queue celery")(rollback.rollback)
app.command("status", epilog="Example: taketurns -A shop status --json")(status.status)
app.command("token", epilog="Example: taketurns token acme --hours 8")(token.token)
app.add_typer(tenants.app, name="tenants")
app.add_typer(tasks.app, name="tasks")
app.add_typer(dead.app, name="dead")
app.add_typer(schedules.app, name="schedules")
app.add_typer(keys.app, name="keys")
app.add_typer(services.app, name="services")
app.add_typer(workers.app, name="workers")


_OF_OUTPUT: Final = {errno.ENOSPC, errno.EIO, errno.EBADF}
"""What is wrong with a standard output that can't be written."""


def run() -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what its encoding lacks is escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except TaketurnsError as error:
        sys.stderr.write(f"taketurns: {error}\n")
        sys.exit(1)
    except OSError as error:
        if error.filename is not None or error.errno not in _OF_OUTPUT:
            raise
        sys.stderr.write(f"taketurns: what is to be said can't be written: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(1)  # without another try to write the rest


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # typer passes it so
    if wanted:
        typer.echo(f"taketurns {__version__}")
        raise typer.Exit


@app.callback(
    epilog="[bold]Examples[/bold]\n\n"
    "taketurns -A shop --config config.env api --port 8000\n\n"
    "taketurns -A shop:app reaper --dry-run\n\n"
    "taketurns -A shop tenants set acme --rate 10/60s --tag plan=pro\n\n"
    "taketurns -A shop tasks list acme --state FAILURE\n\n"
    "taketurns -A shop monitor\n\n"
    "taketurns -A shop status\n\n"
    "taketurns -A shop doctor\n\n"
    "taketurns -A shop dead list --tenant acme\n\n"
    "taketurns -A shop schedules create acme nightly shop.report --cron '30 2 * * *'\n\n"
    "taketurns token acme --hours 8\n\n"
    "taketurns -A shop keys create acme --expires 90d\n\n"
    "The workers are the ordinary ones: celery -A shop worker"
)
def options(
    context: typer.Context,
    *,
    application: Annotated[
        str | None,
        typer.Option("--app", "-A", metavar="MODULE[:ATTRIBUTE]", help="Your Celery app, as for celery -A."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Read settings from this file, such as config.env; the environment wins over it.",
        ),
    ] = None,
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Celery on RabbitMQ with a durable queue for every tenant, served in turn."""
    if config is not None:
        # Before the app's module is imported, since its TakeTurns(app) reads the settings.
        os.environ[CONFIG_VARIABLE] = str(config.absolute())
    context.obj = application
