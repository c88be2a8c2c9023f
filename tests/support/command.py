"""The command line as a process, in a folder with a small app."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from support.api_server import SECRET

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
