"""Where the servers' programs are."""

from __future__ import annotations

import os
import shutil

# Distributions wrap rabbitmq-server in a script that changes to the system's own user and files; the plain
# one is here. The others are where an ordinary user's PATH does not lead.
FIRST = "/usr/lib/rabbitmq/bin"
LAST = ("/usr/local/sbin", "/usr/sbin", "/opt/homebrew/sbin")


def find_program(name: str) -> str | None:
    """Return the path of a server's program, or None where it is not installed."""
    return shutil.which(name, path=os.pathsep.join([FIRST, os.environ.get("PATH", os.defpath), *LAST]))
