"""``taketurns token``: a token for the HTTP API, for development."""

from typing import Annotated

import typer

from taketurns.cli.extras import needs_extra
from taketurns.settings import Settings


def token(
    context: typer.Context,
    tenant: Annotated[
        str, typer.Argument(metavar="TENANT", help="The tenant, or the owner, that it speaks for.")
    ],
    *,
    operator: Annotated[bool, typer.Option("--operator", help="Let it see and change all tenants.")] = False,
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 366, help="How long it is valid.")] = 24.0,
) -> None:
    """Print a token for the HTTP API.

    It is signed with TAKETURNS_API_JWT_SECRET: whoever has that secret can make one. In production your identity
    provider does.
    """
    with needs_extra("api"):
        from taketurns.api.auth import Tokens  # PyJWT is an extra

    if context.obj:
        from taketurns.cli.application import load_turns  # Celery takes its time to import

        settings = load_turns(context.obj).settings
    else:
        settings = Settings.load()
    typer.echo(Tokens(settings.api).issue(tenant, operator=operator, seconds=hours * 3600))
