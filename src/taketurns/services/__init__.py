"""Private RabbitMQ and Redis nodes for development, demo and tests."""

from taketurns.services.errors import NodesUnavailable
from taketurns.services.nodes import PrivateNodes

__all__ = ["NodesUnavailable", "PrivateNodes"]
