"""The process that serves the API."""

import resource
import socket
import sys
from contextlib import suppress
from typing import Final

import uvicorn

from taketurns.live.live import Live

_NOT_STARTED: Final = 3
"""uvicorn's exit code for that."""


class Server(uvicorn.Server):
    """uvicorn, which at its end waits for all open connections, and so would wait for streams of events.

    Args:
        config: uvicorn's.
        live: the streams.
    """

    def __init__(self, config: uvicorn.Config, live: Live) -> None:
        super().__init__(config)
        self._live = live

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal says to stop, with as many files as the system lets it open: each stream is one."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        with suppress(KeyboardInterrupt):
            super().run(sockets)
        if not self.started:
            sys.exit(_NOT_STARTED)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, and then all else."""
        self._live.close()
        await super().shutdown(sockets)
