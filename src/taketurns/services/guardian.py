"""Run one server, and end it whatever becomes of the process that asked for it.

    python guardian.py LOCK PARENT GRACE COMMAND...

The guardian lives in a session of its own, so neither Ctrl-C nor a kill of its parent's process group
reaches it. It ends the server, with everything the server started, when it gets a SIGTERM or when the
process PARENT has gone, by kill -9 too (PARENT 0: never). GRACE: seconds from SIGTERM to SIGKILL. It holds
an exclusive lock on the file LOCK, with its process id in it, from before the server starts until after the
server has gone: who can take the lock knows that nothing runs. It imports nothing of taketurns and only the
standard library, to start at once.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType
    from typing import IO

POLL = 0.1  # seconds between two looks at server, parent and requests to stop
LOCKED = 75  # exit status: somebody else holds the lock


def main(lock: str, parent: int, grace: float, command: list[str]) -> int:
    """Run the command until it ends or has to; return the guardian's exit status."""
    stop_requested = False

    def request_stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stop_requested
        stop_requested = True

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, request_stop)
    with open(lock, "a+") as held:  # noqa: PTH123  # pathlib costs more to import than the rest together
        if not _take(held):
            _say(f"another guardian holds {lock}")
            return LOCKED
        held.truncate(0)
        held.write(str(os.getpid()))
        held.flush()
        try:
            # preexec_fn is safe: this process has one thread
            server = subprocess.Popen(command, start_new_session=True, preexec_fn=_die_with_guardian)  # noqa: PLW1509
        except OSError as error:
            _say(f"can't run {command[0]}: {error.strerror}")
            return 127
        while server.poll() is None and not stop_requested and os.getppid() == (parent or os.getppid()):
            time.sleep(POLL)
        ended_itself = server.poll() is not None
        _end(server, grace)
        if ended_itself:
            _say(f"{command[0]} ended by itself with status {server.returncode}")
        return server.returncode if ended_itself and server.returncode > 0 else int(ended_itself)


def _take(lock: IO[str]) -> bool:
    """Lock the file; somebody who looks whether it is locked may be in the way for a moment."""
    for _ in range(10):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(POLL)
    return False


def _end(server: subprocess.Popen[bytes], grace: float) -> None:
    server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(grace)
    with suppress(ProcessLookupError):  # its helpers, and the server itself if it did not obey
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _die_with_guardian() -> None:
    """Have the kernel kill the server should the guardian itself be killed (Linux only)."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _say(message: str) -> None:
    print(f"guardian: {message}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]))
