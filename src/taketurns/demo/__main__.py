"""``python -m taketurns.demo``: play the demo; ``make demo`` runs it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from taketurns.cli.extras import MissingExtra, needs_extra


def main() -> None:
    """Play the demo and exit: 0 every promise was kept, 1 one was not or the demo failed, 2 used wrongly."""
    if find_spec("flower") is None:
        sys.exit('taketurns demo: Flower is not installed: pip install "taketurns[all]"')
    try:
        with needs_extra("cli"), needs_extra("api"):
            from taketurns.demo.command import app  # packages of extras may be missing
    except MissingExtra as error:
        sys.exit(f"taketurns demo: {error}")
    app()


if __name__ == "__main__":
    main()
