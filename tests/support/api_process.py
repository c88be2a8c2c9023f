"""``taketurns api`` as a process."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from support.api_server import SECRET, Client
from taketurns.api.auth import Tokens  # PyJWT is an extra
from taketurns.settings import ApiSettings

if TYPE_CHECKING:
    import signal
    import subprocess
    from pathlib import Path

WITHIN = 90.0


class Api:
    """A running ``taketurns api``."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text()

    def client(self) -> Client:
        """Return a client without a token."""
        match = re.search(r"Uvicorn running on (http://\S+)", self.log)
        assert match, self.log
        return Client(match[1], Tokens(ApiSettings(jwt_secret=SECRET)))

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(WITHIN)
