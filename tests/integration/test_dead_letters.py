"""Dead letters on a real broker, from real workers: how they come there, and what an operator does with them."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from pika import BasicProperties, BlockingConnection, URLParameters

from support.letters import bury
from support.proxy import running
from support.workers import worker
from taketurns.deadletters.box import Outcome
from taketurns.deadletters.selection import Selection
from taketurns.errors import BrokerUnavailable, DeadLettersBusy, InvalidInput
from taketurns.topology import DEAD_QUEUE, EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from support.servers import Broker
    from support.workers import Ledger
    from taketurns.deadletters.box import DeadLetters
    from taketurns.progress import Step
    from taketurns.settings import Settings

    Eventually = Callable[..., None]


def poison(shop: Any, channel: BlockingChannel, *bodies: str, tenant: str = "acme") -> None:
    """Put messages into a tenant's queue that can never run."""
    queue = shop.turns.publisher.ensure(tenant)
    for body in bodies:
        given = BasicProperties(
            content_type="application/json", headers={"task": "support.shop.work", "id": body}
        )
        channel.basic_publish(EXCHANGE, queue, body.encode(), given)


@pytest.fixture
def letters(shop: Any) -> DeadLetters:
    box: DeadLetters = shop.turns.dead_letters
    return box


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_task_that_failed_for_good_is_a_dead_letter_and_runs_again_when_replayed(
    pool: str,
    shop: Any,
    letters: DeadLetters,
    ledger: Ledger,
    settings: Settings,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    with worker(settings, tmp_path, "-P", pool, "-c", "1"):
        failed = shop.fail.apply_async(("luck",), tenant="acme", priority="high")
        shop.stubborn.apply_async(("twice",), tenant="bolt")
        shop.refuse.apply_async(("no",), tenant="acme")
        eventually(lambda: letters.count() == 3, within=20)
        assert shop.work.apply_async(("fine",), tenant="acme").get(timeout=20) == "fine"
        by_task = {letter.task: letter for letter in letters.list()}
        luck = by_task["support.shop.fail"]
        assert (luck.tenant, luck.queue, luck.task_id) == ("acme", "usersequence_acme", failed.id)
        assert (luck.cause, luck.reason, luck.attempts, luck.replays) == (
            "failed",
            "ValueError('no luck')",
            1,
            0,
        )
        assert "in fail" in luck.traceback
        assert "no luck" in luck.traceback
        assert '["luck"]' in luck.body
        assert by_task["support.shop.stubborn"].attempts == 2
        assert by_task["support.shop.refuse"].cause == "rejected"
        assert Counter(ledger.labels()) == {"luck": 1, "twice": 2, "no": 1, "fine": 1}

        replayed = letters.replay(Selection(ids={luck.id}))
        assert (replayed.done, replayed.without_tenant) == (1, 0)
        eventually(lambda: ledger.labels().count("luck") == 2)
        eventually(lambda: letters.count() == 3)
        again = letters.list(Selection(tenant="acme", cause="failed"))
        assert [(letter.task_id, letter.replays) for letter in again] == [(failed.id, 1)]
        eventually(lambda: shop.turns.management.queue("usersequence_acme").unacknowledged == 0)


def test_a_failure_whose_message_the_broker_has_back_is_no_letter_yet(
    shop: Any,
    letters: DeadLetters,
    ledger: Ledger,
    settings: Settings,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """It runs again, and of that run there is one."""
    with running(str(settings.broker.amqp_url)) as proxy:
        broker = settings.broker.model_copy(update={"amqp_url": proxy.url})
        through = replace(settings, broker=broker)
        with worker(through, tmp_path, "-P", "threads", "-c", "1") as this:
            shop.hold_and_fail.apply_async(("luck",), tenant="acme")
            eventually(lambda: "received" in this.output)  # it was delivered, and has a thread
            before = proxy.accepted
            proxy.cut()
            eventually(lambda: proxy.accepted > before)  # the worker has noticed, and connects again
            ledger.let_go()
            eventually(lambda: len(ledger) == 1)
            ledger.let_go()
            eventually(lambda: len(ledger) == 2, within=30)
            eventually(lambda: letters.count() > 0)
            assert this.stop() == 0
    assert letters.count() == 1


def test_wrong_arguments_are_told_from_a_failure_and_not_retried(
    shop: Any,
    letters: DeadLetters,
    ledger: Ledger,
    settings: Settings,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    shop.stubborn.typing = False  # a publisher with an older version of the code
    try:
        shop.stubborn.apply_async((1, 2, 3), tenant="acme")
    finally:
        del shop.stubborn.typing
    with worker(settings, tmp_path, "-c", "1"):
        eventually(lambda: letters.count() == 1, within=20)
    (letter,) = letters.list()
    assert (letter.cause, letter.attempts) == ("wrong_arguments", 1)
    assert "takes 1 positional argument" in letter.reason
    assert not ledger.labels()


def test_a_task_over_its_hard_time_limit_is_a_dead_letter(
    shop: Any, letters: DeadLetters, settings: Settings, tmp_path: Path, eventually: Eventually
) -> None:
    with worker(settings, tmp_path, "-c", "1"):
        shop.work.apply_async(("slow", 20), tenant="acme", time_limit=0.5)
        eventually(lambda: letters.count() == 1, within=20)
        assert shop.work.apply_async(("next",), tenant="acme").get(timeout=20) == "next"
    (letter,) = letters.list()
    assert letter.reason == "TimeLimitExceeded: it ran for more than 0.5 s"


def test_a_task_that_kills_its_process_each_time_is_put_away_and_starts_afresh_when_replayed(
    shop: Any,
    letters: DeadLetters,
    ledger: Ledger,
    settings: Settings,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    with worker(settings, tmp_path, "-c", "2", TAKETURNS_WORKER_MAX_STARTS="3"):
        loop = shop.die.apply_async(("loop",), tenant="acme")
        eventually(lambda: letters.count() == 1, within=30)
        assert shop.work.apply_async(("fine",), tenant="acme").get(timeout=20) == "fine"
        (letter,) = letters.list()
        assert (letter.cause, letter.attempts, letter.task_id) == ("crash_loop", 3, loop.id)
        assert ledger.labels().count("loop") == 3
        with pytest.raises(Exception, match="started 3 times"):
            loop.get(timeout=10)
        letters.replay(Selection(cause="crash_loop"))
        eventually(lambda: letters.count() == 1 and ledger.labels().count("loop") == 6, within=30)


def test_a_crash_loop_ends_while_redis_is_away_too(
    shop: Any,
    letters: DeadLetters,
    settings: Settings,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """The worker counts what it has started itself."""
    with running(settings.redis.redis_url) as proxy:
        variables: Any = {"TAKETURNS_REDIS_URL": proxy.url, "SHOP_RESULTS": settings.redis.redis_url}
        with worker(settings, tmp_path, "-c", "2", TAKETURNS_WORKER_MAX_STARTS="3", **variables):
            proxy.refuse()
            shop.die.apply_async(("loop",), tenant="acme")
            eventually(lambda: letters.count() == 1, within=30)
            (letter,) = letters.list()
            assert (letter.cause, letter.attempts) == ("crash_loop", 3)


def test_letters_are_listed_in_their_order_and_stay_there(
    shop: Any,
    letters: DeadLetters,
    amqp: BlockingChannel,
    settings: Settings,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    poison(shop, amqp, *map(str, range(300)))
    poison(shop, amqp, *map(str, range(300, 303)), tenant="bolt")
    with worker(settings, tmp_path, "-P", "threads", "-c", "2"):
        eventually(lambda: letters.count() == 303, within=30)
    listed = letters.list(Selection(tenant="acme"))
    assert sorted(int(letter.body) for letter in listed) == list(range(300))
    assert letters.list(Selection(tenant="acme")) == listed
    assert letters.list(Selection(tenant="acme"), limit=7) == listed[:7]
    assert {letter.body for letter in letters.list(Selection(tenant="bolt"))} == {"300", "301", "302"}
    assert letters.get(listed[250].id) == listed[250]
    assert letters.get("nobody") is None
    found = letters.look(Selection(tenant="bolt"), limit=1, brief=True)
    assert (found.total, [(letter.headers, letter.body) for letter in found.letters]) == (303, [({}, "")])
    told: list[Step] = []
    acme = Selection(tenant="acme")
    assert letters.discard(acme, limit=299, progress=told.append) == Outcome(done=299)
    assert [step.passed for step in told] == list(range(len(told)))
    assert (told[-1].done, told[-1].total) == (299, 303)
    assert [letter.body for letter in letters.list(acme)] == [listed[-1].body]
    ids = {listed[-1].id, listed[0].id, "nobody"}
    assert letters.discard(Selection(ids=ids)) == Outcome(done=1, missing=frozenset({listed[0].id, "nobody"}))
    assert letters.discard(Selection()) == Outcome(done=3)
    assert letters.count() == 0
    assert letters.list() == []


@pytest.mark.parametrize("limit", [0, -1, "2", 1.5, True])
def test_a_limit_that_is_none_is_refused_and_does_nothing(
    limit: Any, shop: Any, letters: DeadLetters
) -> None:
    for letter_id in ("d-1", "d-2"):
        bury(shop.turns, letter_id)
    for treat in (letters.discard, letters.replay, letters.list):
        with pytest.raises(InvalidInput, match=r"limit: .* accepted is a whole number from 1, or None"):
            treat(Selection(tenant="acme"), limit=limit)
    assert letters.count() == 2


def test_a_letter_of_no_tenant_can_only_be_discarded(letters: DeadLetters, amqp: BlockingChannel) -> None:
    letters.count()  # which declares the queue
    amqp.basic_publish("", DEAD_QUEUE, b"whose?")
    replayed = letters.replay(Selection(), limit=1)
    assert (replayed.done, replayed.without_tenant) == (0, 1)
    assert letters.discard(Selection()).done == 1


def test_one_looks_at_a_time_and_the_next_one_waits(
    letters: DeadLetters, amqp: BlockingChannel, broker: Broker
) -> None:
    letters.count()
    for number in range(20):
        amqp.basic_publish("", DEAD_QUEUE, str(number).encode())
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(len(letters.list()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [20] * 6
    with closing(BlockingConnection(URLParameters(broker.amqp_url))) as other:
        other.channel().queue_declare("usersequence.dead.reader", exclusive=True)
        with pytest.raises(DeadLettersBusy):
            letters.list()
    assert len(letters.list()) == 20


def test_a_replay_that_fails_in_the_middle_leaves_the_rest(
    shop: Any, letters: DeadLetters, amqp: BlockingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker can't be made to fail between two messages, so its publisher does."""
    letters.count()
    for number in range(5):
        headers = {"taketurns_tenant": "acme", "task": "support.shop.work", "id": str(number)}
        amqp.basic_publish("", DEAD_QUEUE, b"[[], {}, {}]", BasicProperties(headers=headers))
    publish = shop.turns.publisher.publish

    def fails_on_the_third(body: bytes, **options: Any) -> None:
        if options["properties"]["application_headers"]["id"] == "2":
            raise BrokerUnavailable("away")
        publish(body, **options)

    monkeypatch.setattr(shop.turns.publisher, "publish", fails_on_the_third)
    with pytest.raises(BrokerUnavailable):
        letters.replay(Selection())
    assert [letter.task_id for letter in letters.list()] == ["2", "3", "4"]
    assert shop.turns.management.queue("usersequence_acme").ready == 2
