"""What several of the integration tests start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.workers import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.settings import Settings


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return Ledger(settings)


@pytest.fixture
def shop(settings: Settings) -> Iterator[Any]:
    """The app of support.shop, as a publisher in this process: the same tasks on this test's own vhost."""
    from support.publishing import shop_for  # reads the environment, so not at import

    with shop_for(settings) as module:
        yield module
