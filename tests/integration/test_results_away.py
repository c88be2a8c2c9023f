"""A result backend that is away costs results, and neither tasks nor slots."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from celery import group

from support.proxy import running
from support.workers import worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from support.workers import Ledger
    from taketurns.settings import Settings

    Eventually = Callable[..., None]

NOWHERE = "redis://127.0.0.1:1/0"  # a port that nothing listens at


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_tasks_run_once_while_results_can_not_be_stored(
    pool: str, shop: Any, ledger: Ledger, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """More tasks than slots, half of which fail: each ends and frees its slot, and only those are dead letters."""
    with worker(settings, tmp_path, "-P", pool, "-c", "2", SHOP_RESULTS=NOWHERE) as this:
        for number in range(6):
            shop.work.apply_async((f"work-{number}",), tenant="acme")
            shop.fail.apply_async((f"fail-{number}",), tenant="acme")
        eventually(lambda: len(ledger) == 12, within=20)
        eventually(lambda: shop.turns.dead_letters.count() == 6, within=20)
        eventually(lambda: shop.turns.management.queue("usersequence_acme").unacknowledged == 0)
        assert set(Counter(ledger.labels()).values()) == {1}
        assert this.output.count("is not in the result backend") <= 4
        assert this.stop() == 0
    assert {letter.cause for letter in shop.turns.dead_letters.list()} == {"failed"}


def test_a_task_is_submitted_while_the_result_backend_is_away(
    shop: Any, settings: Settings, ledger: Ledger, tmp_path: Path, eventually: Eventually
) -> None:
    """By a process that was connected to it; whoever asks for the result is told."""
    with worker(settings, tmp_path, "-P", "threads", "-c", "1"):
        with running(settings.redis.redis_url) as between:
            shop.app.conf.result_backend = between.url
            assert shop.work.apply_async(("a",), tenant="acme").get(timeout=20) == "a"
        result = shop.work.apply_async(("b",), tenant="acme")
        eventually(lambda: ledger.labels() == ["a", "b"], within=15)
    with pytest.raises(Exception, match=r"(?i)connect|Retry limit"):
        _ = result.state


def test_a_submission_says_whether_its_result_is_kept(shop: Any, amqp: BlockingChannel) -> None:
    """As with Celery's own."""
    kept = shop.work.apply_async(tenant="acme")
    ignored = shop.work.apply_async(tenant="acme", ignore_result=True)
    headers = [amqp.basic_get("usersequence_acme")[1].headers for _ in range(2)]
    assert [bool(each["ignore_result"]) for each in headers] == [False, True]
    assert [bool(each.ignored) for each in (kept, ignored)] == [False, True]


def test_a_callback_on_a_result_that_has_come_already_is_called(
    shop: Any, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    """As with Celery's own, which has subscribed before."""
    called: list[str] = []
    with worker(settings, tmp_path, "-P", "threads", "-c", "1"):
        result = shop.work.apply_async(("a",), tenant="acme")
        eventually(lambda: shop.app.AsyncResult(result.id).ready())
        result.then(lambda done: called.append(done.get()))
        assert shop.work.apply_async(("b",), tenant="acme").get(timeout=20) == "b"
    assert called == ["a"]


def test_a_group_is_submitted_as_a_whole_or_not_at_all(
    shop: Any, settings: Settings, amqp: BlockingChannel
) -> None:
    """Celery subscribes to the results of its tasks, which fails before any is published."""
    shop.app.conf.result_backend = NOWHERE
    shop.turns.publisher.ensure("acme")
    with pytest.raises(Exception, match=r"(?i)connect|Retry limit"):
        group(shop.work.s(label).set(tenant="acme") for label in "ab").apply_async()
    assert amqp.basic_get("usersequence_acme")[0] is None
