"""The command ``taketurns``, one file a command."""

from __future__ import annotations

import sys

from taketurns.cli.interrupts import INTERRUPTED, quiet_interrupt


def main() -> None:
    """Run the command line and exit.

    0: done; 1: failed, one line on stderr says why; 2: used wrongly; 130: ended by Ctrl-C.
    """
    with quiet_interrupt():
        from taketurns.cli.extras import MissingExtra, needs_extra  # all of these take their time

        try:
            with needs_extra("cli"):
                from taketurns.cli.root import run  # typer and rich may be missing
        except MissingExtra as error:
            sys.exit(f"taketurns: {error}")
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
