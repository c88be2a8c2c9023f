"""The command line: as a process, in a folder with a small app, or in the test's own, which is quicker."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from support.api_server import SECRET
from support.publishing import close
from taketurns.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COMMAND = Path(sys.executable).with_name("taketurns")
WITHIN = 30.0

SHOP = """
from celery import Celery
from taketurns import TakeTurns
app = Celery("shop")
TakeTurns(app)
"""


def run(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``taketurns ARGUMENTS`` with none of the developer's own settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TAKETURNS_")}
    return subprocess.run(  # our own command
        [COMMAND, *arguments],
        cwd=cwd,
        env={**clean, "COLUMNS": "200", **variables},
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )


@contextmanager
def started(*arguments: str, cwd: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run ``taketurns ARGUMENTS`` beside the test, until the block ends at the latest."""
    with subprocess.Popen(  # our own command
        [COMMAND, *arguments],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def invoke(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``taketurns -A support.api_app:app ARGUMENTS`` in this process, with nobody at its standard input.

    What a command leaves behind is cleared away as its process' end would: its app, and the level of loggers.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    level = logging.getLogger("taketurns.store").level
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TAKETURNS_")}
    module, code = "support.api_app", 0
    with (
        mock.patch.dict(os.environ, {**clean, "COLUMNS": "200", **variables}, clear=True),
        mock.patch.object(sys, "argv", ["taketurns", "-A", f"{module}:app", *arguments]),
        mock.patch.object(sys, "stdin", io.StringIO()),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        sys.modules.pop(module, None)
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            if (loaded := sys.modules.pop(module, None)) is not None:
                close(loaded.app)
            logging.getLogger("taketurns.store").setLevel(level)
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return subprocess.CompletedProcess(["taketurns", *arguments], code, *texts)


def run_without(
    missing: str, *arguments: str, cwd: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a Python that lacks a package."""
    program = f"import sys; sys.modules[{missing!r}] = None; import taketurns.cli; taketurns.cli.main()"
    return subprocess.run(  # our own program
        [sys.executable, "-c", program, *arguments],
        cwd=cwd,
        env={**os.environ, "TAKETURNS_API_JWT_SECRET": SECRET, **variables},
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )


def assert_one_line(result: subprocess.CompletedProcess[str], expected: str) -> None:
    """Check that a command failed with nothing but one line that matches."""
    assert result.returncode == 1, result.stderr
    assert result.stdout == ""
    assert re.fullmatch(rf"taketurns: {expected}\n", result.stderr), result.stderr


def parsed(result: subprocess.CompletedProcess[str]) -> Any:
    """Return the JSON that a command printed, which succeeded and said nothing else."""
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return json.loads(result.stdout)
