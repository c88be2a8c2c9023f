"""The app of ``support.shop`` inside the test's own process."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

from support.workers import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.settings import Settings


@contextmanager
def shop_for(settings: Settings) -> Iterator[Any]:
    """Import ``support.shop`` anew for one test's vhost and key prefix."""
    sys.modules.pop("support.shop", None)
    with mock.patch.dict("os.environ", environment(settings), clear=True):
        module = importlib.import_module("support.shop")
    try:
        yield module
    finally:
        module.turns.publisher.close()
        module.app.close()
        sys.modules.pop("support.shop", None)
