"""Settings that can't be used, told in one line where Celery's own command would print a traceback."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from taketurns.errors import InvalidSettings

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Have ``celery -A shop worker``, or beat, end with 1 and the error's line if a setting can't be used.

    It imports the app while it reads its options, and shows the traceback of whatever Exception that raises. In every
    other process the error is raised as it is.
    """
    try:
        yield
    except InvalidSettings as error:
        if _is_celerys_command():
            raise SystemExit(f"taketurns: {error}") from None
        raise


def _is_celerys_command() -> bool:
    """Tell whether this process is ``celery ...``, and reads its options at present."""
    command, click = (sys.modules.get(name) for name in ("celery.bin.celery", "click"))
    if command is None or click is None:
        return False
    context = click.get_current_context(silent=True)
    return context is not None and context.find_root().command is command.celery
