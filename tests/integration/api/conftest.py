"""The API of a small shop, served over real HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.api_server import Client, serving, shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns import TakeTurns
    from taketurns.settings import Settings


@pytest.fixture
def turns(settings: Settings) -> TakeTurns:
    return shop(settings)


@pytest.fixture
def api(turns: TakeTurns) -> Iterator[Client]:
    """A client without a token."""
    with serving(turns) as client:
        yield client


@pytest.fixture
def acme(api: Client) -> Iterator[Client]:
    with api.as_("acme") as client:
        yield client


@pytest.fixture
def operator(api: Client) -> Iterator[Client]:
    with api.as_("root", operator=True) as client:
        yield client
