"""What the tests of the command line share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.api_server import shop
from support.command import invoke
from support.workers import environment

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from taketurns import TakeTurns
    from taketurns.settings import Settings


@pytest.fixture
def taketurns(settings: Settings) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs ``taketurns -A APP ARGUMENTS`` on the test's own servers."""
    own = environment(settings)

    def taketurns(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return invoke(*arguments, **{**own, **variables})

    return taketurns


@pytest.fixture
def turns(settings: Settings) -> Iterator[TakeTurns]:
    """Return the extension of the same app in the test's process."""
    turns = shop(settings)
    yield turns
    turns.close()
