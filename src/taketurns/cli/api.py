"""``taketurns api``: serve the HTTP API."""

import asyncio
import logging
import os
import re
import signal
import socket
import sys
from typing import Annotated, Any, Final

import typer

from taketurns.cli.extras import needs_extra
from taketurns.cli.interrupts import quiet_interrupt
from taketurns.errors import TaketurnsError

_GRACE: Final = 10
"""Seconds that running requests have after the signal to stop."""

_KEEP_ALIVE: Final = 75
"""Seconds for which a connection may rest between two requests: longer than clients and load balancers let it.

Who closes it must be the one who sends next; else a request may meet its end. uvicorn's five seconds are httpx's too.
"""

_PINGS: Final = 15.0
"""Seconds between two pings of a WebSocket, as server-sent events have their signs of life."""


class CanNotListen(TaketurnsError):
    """The API can't have the address or the port that it was told to listen on."""


class WithoutProbes(logging.Filter):
    """Leaves successful health checks out of the access log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is to be logged."""
        match record.args:
            case (_, _, str(path), _, 200):
                return not path.startswith("/health/")
        return True


class WithoutTokens(logging.Filter):
    """Keeps the tokens out of the log that browsers put into URLs, since they can set no header there."""

    _TOKEN: Final = re.compile(r"(?<=[?&]access_token=)[^&\s\"]+")

    def filter(self, record: logging.LogRecord) -> bool:
        """Take them out of a record."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                self._TOKEN.sub("***", each) if isinstance(each, str) else each for each in record.args
            )
        return True


_LOGGING: Final[dict[str, Any]] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "filters": {
        "without_probes": {"()": f"{__name__}.WithoutProbes"},
        "without_tokens": {"()": f"{__name__}.WithoutTokens"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["without_tokens"]}
    },
    "loggers": {"uvicorn.access": {"filters": ["without_probes"]}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
}


def api(
    context: typer.Context,
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on (TAKETURNS_API_HOST).")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 is any free one (TAKETURNS_API_PORT).")
    ] = None,
) -> None:
    """Serve the HTTP API of the app's exposed tasks.

    Its documentation is at /docs. SIGTERM and Ctrl-C stop it after the running requests; streams of events end.
    """
    with quiet_interrupt():
        with needs_extra("api"):
            import uvicorn  # an extra

            from taketurns.api.app import create_app  # FastAPI is an extra
            from taketurns.api.server import Server
        from taketurns.cli.application import load_turns  # Celery takes its time to import

        turns = load_turns(context.obj)
    application = create_app(turns)
    host = host if host is not None else turns.settings.api.host
    port = port if port is not None else turns.settings.api.port
    asyncio.run(_check_listening(host, port))
    # uvicorn stops at a signal and then raises it again; to be told to stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        log_config=_LOGGING,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
        ws_ping_interval=_PINGS,
        ws_per_message_deflate=False,  # events are small, and each connection would need the memory
    )
    Server(config, turns.live).run()


async def _check_listening(host: str, port: int) -> None:
    """Listen for a moment, as uvicorn does it, which would tell in its log only, among lines of a start.

    Raises:
        CanNotListen: that is not possible.
    """
    try:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    except OSError as error:
        # asyncio's own text repeats the address; a name that is not known has no number in errno's table.
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise CanNotListen(
            f"can't listen on host {host}, port {port}: {why}; choose others by --host and --port, or by "
            "TAKETURNS_API_HOST and TAKETURNS_API_PORT"
        ) from None
    server.close()
    await server.wait_closed()
