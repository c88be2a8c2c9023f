"""Databases for results: a private PostgreSQL, and files of SQLite."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_USER = "postgres"
_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def _found(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([*map(str, reversed(_PROGRAMS)), os.environ["PATH"]]))


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a PostgreSQL on a free port of 127.0.0.1 until the block ends; give the URL of its database.

    Skips the test where the programs are missing. They refuse to run as root, and are run as another user then.
    """
    initdb, pg_ctl = _found("initdb"), _found("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    runs_as: list[str] = []
    if os.getuid() == 0:
        if shutil.which("runuser") is None or _USER not in {user.pw_name for user in pwd.getpwall()}:
            pytest.skip(f"PostgreSQL does not run as root, and there is no runuser or no user {_USER}")
        runs_as = ["runuser", "-u", _USER, "--"]
    with tempfile.TemporaryDirectory(prefix="taketurns-pg-", ignore_cleanup_errors=True) as folder:
        if runs_as:
            shutil.chown(folder, _USER)

        def run(*command: str) -> None:
            done = subprocess.run(
                [*runs_as, *command], cwd=folder, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr

        data = f"{folder}/data"
        run(initdb, "-D", data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        port = _free_port()
        options = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off"
        run(pg_ctl, "-D", data, "-l", f"{folder}/log", "-o", options, "-w", "start")
        try:
            yield f"postgresql+psycopg://{_USER}@127.0.0.1:{port}/postgres"
        finally:
            run(pg_ctl, "-D", data, "-m", "immediate", "-w", "stop")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
