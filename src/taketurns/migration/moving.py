"""Moving messages: each is taken away from its queue only when the broker has confirmed its copy in the other one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from taketurns.errors import InvalidInput
from taketurns.fetching import Fetcher, own_connection
from taketurns.tenants import QUEUE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.extension import TakeTurns

_OURS = (QUEUE_PREFIX, "usersequence.")


@contextmanager
def fetching(turns: TakeTurns, purpose: str) -> Iterator[Fetcher]:
    """Lend what fetches messages; at the end, what was fetched and not taken away is in its place again.

    Args:
        turns: the app's extension.
        purpose: what an error says that RabbitMQ can't be asked for.

    Raises:
        BrokerUnavailable: RabbitMQ is away or refuses something.
    """
    seconds = turns.settings.broker.publish_timeout
    with own_connection(turns.app, seconds=seconds, purpose=purpose) as connection:
        connection.default_channel  # noqa: B018  # connects
        fetcher = Fetcher(connection, seconds=seconds)
        yield fetcher
        fetcher.close()


def checked_old_queue(name: str) -> str:
    """Return the name of an old queue as it is.

    Raises:
        InvalidInput: it is a queue of taketurns.
    """
    if not name or name.startswith(_OURS):
        raise InvalidInput(name, "the name of a queue of the app, such as celery", field="queue")
    return name
