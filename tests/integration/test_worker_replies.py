"""What a worker answers to remote control, when the connections that it publishes through are of no use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.proxy import running
from support.workers import worker

if TYPE_CHECKING:
    from pathlib import Path

    from celery import Celery

    from support.workers import Ledger
    from taketurns.settings import Settings


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_worker_answers_by_the_connection_on_which_it_was_asked(
    pool: str, shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    """Celery's own would wait, in the worker's loop and without end, for one that nobody answers on."""
    with (
        running(str(settings.broker.amqp_url)) as proxy,
        worker(settings, tmp_path, "-P", pool, "-c", "1", SHOP_WRITES_TO=proxy.url) as one,
    ):
        assert shop.work.apply_async(("before",), tenant="acme").get(timeout=20) == "before"
        proxy.stall()
        assert shop.app.control.ping([one.name], timeout=10.0) == [{one.name: {"ok": "pong"}}]
        assert shop.work.apply_async(("after",), tenant="acme").get(timeout=20) == "after"
        proxy.answer()
    assert [row["label"] for row in ledger.rows()] == ["before", "after"]


def ask(app: Celery, *, times: int = 1) -> None:
    """Send pings, so many at a time, whose replies go to an exchange that is not there."""
    reply_to = {"exchange": "nobodys", "routing_key": "nobody"}
    question = {"method": "ping", "arguments": {}, "ticket": "1", "reply_to": reply_to}
    exchange = app.control.mailbox.exchange
    with app.connection_for_write() as connection, connection.Producer() as producer:
        for _ in range(times):
            producer.publish(question, exchange=exchange, serializer="json", declare=[exchange])


def test_a_reply_that_nobody_has_made_an_exchange_for_costs_nothing(
    shop: Any, settings: Settings, tmp_path: Path
) -> None:
    """It is made, as Celery does; else the worker would lose its channel, or end."""
    with worker(settings, tmp_path, "-P", "solo") as one:
        ask(shop.app)
        assert shop.app.control.ping([one.name], timeout=10.0) == [{one.name: {"ok": "pong"}}]
        assert shop.work.apply_async(("after",), tenant="acme").get(timeout=20) == "after"


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_commands_that_come_together_are_answered_by_one_whose_publishes_are_confirmed(
    pool: str, shop: Any, settings: Settings, tmp_path: Path
) -> None:
    """Flower asks several things at a time. One that waited for confirms would wait without end."""
    with worker(settings, tmp_path, "-P", pool, "-c", "1", SHOP_CONFIRMS="1") as one:
        for _ in range(20):
            ask(shop.app, times=50)
            assert shop.app.control.ping([one.name], timeout=10.0) == [{one.name: {"ok": "pong"}}]
        assert shop.work.apply_async(("after",), tenant="acme").get(timeout=20) == "after"
