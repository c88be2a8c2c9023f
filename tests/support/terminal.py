"""A command on a terminal of its own, as people have it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from support.command import COMMAND, WITHIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINES: Final = 24


class Terminal:
    """What a process shows, and what is typed to it.

    Attributes:
        process: the process.
        said: all that it has written so far.
    """

    def __init__(self, process: subprocess.Popen[bytes], file: int) -> None:
        self.process = process
        self.said = ""
        self._file = file
        self._deadline = time.monotonic() + WITHIN

    def read_until(self, expected: str) -> None:
        """Read on until this is written, wherever."""
        while expected not in self.said:
            assert self._read(), self.said

    def read_to_the_end(self) -> str:
        """Return all that it has written when it has ended."""
        while self._read():
            pass
        return self.said

    def type(self, text: str) -> None:
        """Type this."""
        os.write(self._file, text.encode())

    def _read(self) -> bool:
        assert time.monotonic() < self._deadline, self.said
        if not select.select([self._file], [], [], max(0.0, self._deadline - time.monotonic()))[0]:
            return True
        try:
            part = os.read(self._file, 4096).decode(errors="replace")
        except OSError:  # the other end is closed
            part = ""
        self.said += part
        return bool(part)


@contextmanager
def on_terminal(
    *arguments: str, cwd: Path, variables: dict[str, str], columns: int = 100
) -> Iterator[Terminal]:
    """Run ``taketurns ARGUMENTS`` on a terminal of 24 lines; it is killed if the block ends before it does."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    with subprocess.Popen(  # our own command
        [COMMAND, *arguments],
        cwd=cwd,
        env={**variables, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            yield Terminal(process, ours)
        finally:
            process.kill()
            os.close(ours)
