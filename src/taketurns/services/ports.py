"""Free TCP ports on the loopback address."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

LOOPBACK = "127.0.0.1"

# Below the range from which Linux takes the ports of outgoing connections: one of those may go to somebody's
# client between the choice and the server's own bind, or while a server is restarted.
_RANGE = range(20000, 32000)


def free_ports(count: int) -> list[int]:
    """Return ``count`` different ports that nobody listens on now.

    Raises:
        OSError: there are not enough of them.
    """
    found: list[int] = []
    with ExitStack() as held:  # all stay bound until the last is found, so they differ
        for port in random.sample(_RANGE, len(_RANGE)):
            if len(found) == count:
                break
            candidate = held.enter_context(socket.socket())
            if _binds(candidate, port):
                found.append(port)
    if len(found) < count:
        raise OSError(f"fewer than {count} free ports on {LOOPBACK} between {_RANGE.start} and {_RANGE.stop}")
    return found


def all_free(ports: list[int]) -> bool:
    """Return whether nobody listens on any of these ports now."""
    with ExitStack() as held:
        return all(_binds(held.enter_context(socket.socket()), port) for port in ports)


def _binds(candidate: socket.socket, port: int) -> bool:
    # As the servers do it: connections of an earlier server in TIME_WAIT are no obstacle.
    candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        candidate.bind((LOOPBACK, port))
    except OSError:
        return False
    return True
