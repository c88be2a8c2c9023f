"""A headless Chromium, told what to do by its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import re
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.sync.client import ClientConnection

START_WITHIN = 40.0


class Page:
    """One page of the browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)

    def command(self, method: str, **parameters: Any) -> Any:
        """Send a command, and return its result."""
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(30))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def value(self, script: str) -> Any:
        """Return what a JavaScript expression is; None: it fails yet."""
        return self.command("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Write a picture of the page."""
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot")["data"]))


@contextmanager
def browsing(chromium: str, directory: Path, url: str) -> Iterator[Page]:
    """Show a page in a Chromium of its own, whose profile and log are in a directory."""
    log = directory / "chromium.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                chromium,
                "--headless",
                "--no-sandbox",  # as root it has none
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--remote-debugging-port=0",
                f"--user-data-dir={directory / 'chromium'}",
                "--window-size=800,700",
                url,
            ],
            stdout=output,
            stderr=output,
        )
    try:
        with connect(_debugger(process, log), proxy=None, max_size=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        process.wait(START_WITHIN)


def _debugger(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the URL of the page's debugger."""
    deadline = time.monotonic() + START_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        if match := re.search(r"DevTools listening on ws://([^/]+)/", log.read_text(errors="replace")):
            for target in requests.get(f"http://{match[1]}/json", timeout=10).json():
                if target["type"] == "page":
                    return str(target["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise AssertionError(f"chromium did not start:\n{log.read_text(errors='replace')[-3000:]}")
