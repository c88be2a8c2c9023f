"""A task that runs longer than the broker waits for its acknowledgement."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from support.impatient import CONSUMER_TIMEOUT, Impatient, ImpatientTree
from support.nodes import fresh_nodes, runs_on_the_tree
from support.servers import Servers
from support.workers import worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.workers import Ledger
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

TAKES = CONSUMER_TIMEOUT + 2
"""Seconds of a task that is too long for them."""


@pytest.fixture(scope="module")
def servers(servers: Servers) -> Iterator[Servers]:
    """Nodes of these tests' own, of the version that the others run on."""
    with fresh_nodes(ImpatientTree if runs_on_the_tree(servers) else Impatient) as nodes:
        identity = nodes.identity
        yield Servers(identity.amqp_url, identity.management_url, identity.redis_url)


def listening(shop: Any) -> int:
    """Return to how many queues the worker is subscribed."""
    replies = shop.app.control.broadcast("taketurns_status", reply=True, timeout=2, limit=1) or []
    return sum(answer["listening"] for reply in replies for answer in reply.values())


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_only_the_task_that_takes_too_long_suffers(
    pool: str, shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """The tasks of others that run at that moment run once, and the worker keeps its connection.

    The long one's message goes back after the timeout and runs again, but not on RabbitMQ 4.3, whose classic queues
    know no timeout.
    """
    times_out = tuple(map(int, shop.turns.management.version().split(".")[:2])) < (4, 3)
    others = [f"t{number}" for number in range(20)]
    for tenant in ("long", *others):
        shop.turns.publisher.ensure(tenant)  # those that a worker finds it subscribes to on one channel
    with worker(settings, tmp_path, "-P", pool, "-c", "8") as this:
        eventually(lambda: listening(shop) == 1 + len(others))
        shop.work.apply_async(("long", TAKES), tenant="long")
        began = time.time()
        for number, tenant in enumerate(others):  # so that some run whenever the channel is closed
            eventually(lambda number=number: time.time() > began + number * CONSUMER_TIMEOUT / 18)
            shop.work.apply_async((tenant, 2.0), tenant=tenant)
        eventually(lambda: len(set(ledger.labels())) == 1 + len(others))
        if times_out:
            eventually(lambda: ledger.labels().count("long") == 2, within=TAKES + CONSUMER_TIMEOUT)
        runs = Counter(ledger.labels())
        long_runs = runs.pop("long")
        assert set(runs.values()) == {1}, runs
        assert this.output.count("Connected to amqp") == 1, this.output
        assert ("took 1 messages back" in this.output) == times_out, this.output
        assert long_runs == (2 if times_out else 1)
        this.process.kill()
