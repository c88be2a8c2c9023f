"""Where the short versions are played: on a vhost of the test's own, or on nodes that may be killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.scene import Ground
from chaos.settings import settings_for
from support.nodes import TreeRabbitMQ, fresh_nodes, runs_on_the_tree
from taketurns.services.rabbitmq import RabbitMQ

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Servers
    from taketurns.settings import Settings


@pytest.fixture
def ground(settings: Settings, tmp_path: Path) -> Ground:
    """A vhost and a key prefix of the test's own."""
    return Ground(settings, tmp_path)


@pytest.fixture
def own_ground(servers: Servers, tmp_path: Path) -> Iterator[Ground]:
    """Servers of the test's own, of the version that the tests run on."""
    with fresh_nodes(TreeRabbitMQ if runs_on_the_tree(servers) else RabbitMQ) as nodes:
        yield Ground(settings_for(nodes), tmp_path, nodes)
