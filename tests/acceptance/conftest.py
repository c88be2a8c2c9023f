"""What the tests of the command line share."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from support.api_process import WITHIN, Api
from support.api_server import SECRET, shop
from support.command import COMMAND, invoke
from support.workers import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from taketurns import TakeTurns
    from taketurns.settings import Settings


@pytest.fixture
def taketurns(settings: Settings) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs ``taketurns -A APP ARGUMENTS`` on the test's own servers."""
    own = environment(settings)

    def taketurns(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return invoke(*arguments, **{**own, **variables})

    return taketurns


@pytest.fixture
def turns(settings: Settings) -> Iterator[TakeTurns]:
    """Return the extension of the same app in the test's process."""
    turns = shop(settings)
    yield turns
    turns.close()


@pytest.fixture
def start(
    settings: Settings, tmp_path: Path, eventually: Callable[..., None]
) -> Iterator[Callable[..., Api]]:
    """Return a function that starts the API of an app, on a free port unless one is given."""
    started: list[subprocess.Popen[bytes]] = []

    def run(app: str = "support.shop", *, port: int = 0, **variables: str) -> Api:
        log = tmp_path / f"api-{len(started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # our own command
                [COMMAND, "-A", app, "api", "--port", str(port)],
                env=environment(settings, TAKETURNS_API_JWT_SECRET=SECRET, **variables),
                stderr=output,
            )
        started.append(process)
        api = Api(process, log)
        eventually(
            lambda: "Uvicorn running on" in api.log or process.poll() is not None, within=WITHIN, what="start"
        )
        return api

    yield run
    for process in started:
        process.kill()
        process.wait()
