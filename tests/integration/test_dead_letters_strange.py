"""Dead letters in bad company: messages of strangers, readers that are interrupted, and a broker that goes away."""

from __future__ import annotations

import signal
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import typer
from amqp import Message

from support.proxy import Proxy, running
from support.publishing import shop_for
from support.stopwatch import PROMISED, stopwatch
from taketurns.cli.dead_output import counted
from taketurns.cli.progress import watched
from taketurns.deadletters.box import Outcome
from taketurns.deadletters.selection import Selection
from taketurns.errors import BrokerUnavailable, DeadLettersBusy
from taketurns.topology import DEAD_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from taketurns.deadletters.box import DeadLetters
    from taketurns.progress import Step
    from taketurns.settings import Settings

HEADERS = b"\x20\x00"
CONTENT_TYPE = b"\x80\x00"


class Raw(Message):
    """A message whose properties are these bytes, whatever other clients may send."""

    def __init__(self, body: bytes, properties: bytes) -> None:
        super().__init__(body)
        self._raw = properties

    def _serialize_properties(self) -> bytes:
        return self._raw


def table(name: bytes, value: bytes) -> bytes:
    entry = struct.pack("B", len(name)) + name + value
    return struct.pack(">I", len(entry)) + entry


def put(letters: DeadLetters, *messages: Message) -> None:
    """Put messages among the dead letters as they are."""
    letters.count()  # which declares the queue
    with letters._turns.app.connection_for_write() as connection:
        channel = connection.default_channel
        for message in messages:
            channel.basic_publish(message, exchange="", routing_key=DEAD_QUEUE)
        channel.queue_declare(DEAD_QUEUE, passive=True)


def letter(number: int, **properties: Any) -> Message:
    """Return the letter of a task of acme's."""
    headers = {"taketurns_tenant": "acme", "task": "support.shop.work", "id": str(number)}
    headers |= properties.pop("headers", {})
    return Message(b"[[], {}, {}]", application_headers=headers, **properties)


def ready(shop: Any, queue: str) -> int:
    found = shop.turns.management.queue(queue)
    return 0 if found is None else int(found.ready)


@pytest.fixture
def letters(shop: Any) -> DeadLetters:
    box: DeadLetters = shop.turns.dead_letters
    return box


@pytest.mark.parametrize(
    "stranger",
    [
        Message(b""),
        Message(b"\xff\x00", application_headers={"at": datetime(2020, 1, 1), "price": Decimal("1.5")}),  # noqa: DTZ001
        Message(b"x", application_headers={b"\xff\xfe": {"list": [b"\xff", None, True]}}),
        Message(b"x", application_headers={"taketurns_dead_reason": "\ud800", "taketurns_dead_id": "a/b"}),
        Raw(b"x", HEADERS + table(b"at", b"T" + struct.pack(">Q", 2**40))),
        Raw(b"", HEADERS + table(b"at", b"T" + struct.pack(">Q", 2**64 - 1))),
        Raw(b"x", CONTENT_TYPE + b"\x02\xff\xfe"),
        Message(b"x" * 5_000_000),
    ],
    ids=["empty", "types", "bytes", "ours", "late", "later", "property", "large"],
)
def test_the_letter_of_a_stranger_is_in_nobodys_way(stranger: Message, letters: DeadLetters) -> None:
    put(letters, letter(1), stranger, letter(2))
    (odd,) = [each for each in letters.list() if each.task is None]
    assert odd.size == len(stranger.body)
    assert letters.get(odd.id) == odd
    assert letters.replay(Selection()) == Outcome(done=2, without_tenant=1)
    assert letters.discard(Selection(ids={odd.id})) == Outcome(done=1)
    assert letters.count() == 0


def test_a_letter_with_what_a_broker_would_refuse_is_replayed_into_one_queue(
    shop: Any, letters: DeadLetters, amqp: BlockingChannel, eventually: Callable[..., None]
) -> None:
    amqp.queue_declare("elsewhere")
    stamp = HEADERS + table(b"CC", b"A" + struct.pack(">I", 14) + b"S" + struct.pack(">I", 9) + b"elsewhere")
    large = HEADERS + table(b"stamp", b"l" + struct.pack(">q", 1767225600000))
    tenant = table(b"taketurns_tenant", b"S" + struct.pack(">I", 4) + b"acme")
    put(letters, *(Raw(b"x", _joined(each, tenant)) for each in (stamp, large)))
    amqp.queue_purge("elsewhere")
    assert letters.replay(Selection()) == Outcome(done=2)
    eventually(lambda: ready(shop, "usersequence_acme") == 2)
    assert ready(shop, "elsewhere") == 0


def _joined(properties: bytes, more: bytes) -> bytes:
    """Add a table's entries to those of a message's headers."""
    entries = properties[6:] + more[4:]
    return properties[:2] + struct.pack(">I", len(entries)) + entries


def test_what_a_policy_put_there_can_be_replayed(
    shop: Any, letters: DeadLetters, amqp: BlockingChannel, eventually: Callable[..., None]
) -> None:
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD_QUEUE}
    letters.count()
    amqp.queue_declare("usersequence_acme", arguments={**arguments, "x-message-ttl": 1})
    amqp.basic_publish("", "usersequence_acme", b"late")
    eventually(lambda: letters.count() == 1)
    (late,) = letters.list()
    assert (late.tenant, late.reason, late.cause) == ("acme", "expired", None)
    assert late.died_at.startswith("20")
    amqp.queue_delete("usersequence_acme")
    assert letters.replay(Selection(tenant="acme")) == Outcome(done=1)
    eventually(lambda: ready(shop, "usersequence_acme") == 1)


def test_an_interrupted_replay_leaves_each_letter_in_one_place(
    shop: Any, letters: DeadLetters, eventually: Callable[..., None]
) -> None:
    put(letters, *map(letter, range(50)))

    def interrupt(step: Step) -> None:
        if step.done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        letters.replay(Selection(), progress=interrupt)
    assert [each.task_id for each in letters.list()] == list(map(str, range(20, 50)))
    eventually(lambda: ready(shop, "usersequence_acme") == 20)


def test_ctrl_c_amid_the_first_letter_lets_that_one_be_done(
    shop: Any, letters: DeadLetters, eventually: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(letters, *map(letter, range(3)))
    publish = shop.turns.publisher.publish

    def press_meanwhile(body: bytes, **options: Any) -> None:
        publish(body, **options)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(shop.turns.publisher, "publish", press_meanwhile)
    with pytest.raises(typer.Exit), watched("replayed", counted) as progress:
        letters.replay(Selection(), progress=progress)
    assert [each.task_id for each in letters.list()] == ["1", "2"]
    eventually(lambda: ready(shop, "usersequence_acme") == 1)


def test_two_operators_at_once_replay_each_letter_once(
    shop: Any, letters: DeadLetters, eventually: Callable[..., None]
) -> None:
    """Whoever is second waits, finds nothing more, or is told after a while that somebody else is at it."""
    put(letters, *map(letter, range(200)))

    def replay(_: int) -> int:
        try:
            return letters.replay(Selection()).done
        except DeadLettersBusy:
            return 0

    with ThreadPoolExecutor(2) as operators:
        assert sorted(operators.map(replay, range(2))) == [0, 200]
    eventually(lambda: ready(shop, "usersequence_acme") == 200)


def test_letters_that_somebody_else_takes_meanwhile_are_not_waited_for(
    letters: DeadLetters, amqp: BlockingChannel
) -> None:
    put(letters, *map(letter, range(100)))

    def purge(step: Step) -> None:
        if step.passed == 1:
            amqp.queue_purge(DEAD_QUEUE)

    assert letters.discard(Selection(), progress=purge).done < 100
    assert letters.count() == 0


@pytest.fixture
def by_proxy(settings: Settings) -> Iterator[tuple[DeadLetters, Proxy]]:
    """The dead letters by way of a proxy."""
    with running(str(settings.broker.amqp_url)) as proxy:
        away = replace(settings, broker=settings.broker.model_copy(update={"amqp_url": proxy.url}))
        with shop_for(away) as module:
            yield module.turns.dead_letters, proxy
            proxy.drop()


@pytest.mark.parametrize("trouble", [Proxy.silence, Proxy.cut])
@pytest.mark.parametrize("change", ["replay", "discard"])
def test_a_broker_that_goes_away_in_the_middle_keeps_what_was_not_done(
    trouble: Callable[[Proxy], None],
    change: str,
    by_proxy: tuple[DeadLetters, Proxy],
    eventually: Callable[..., None],
) -> None:
    letters, proxy = by_proxy
    put(letters, *map(letter, range(300)))
    since = 0.0

    def go_away(step: Step) -> None:
        nonlocal since
        if step.done == 100:
            trouble(proxy)
            since = seconds()

    with stopwatch() as seconds:
        with pytest.raises(BrokerUnavailable):
            getattr(letters, change)(Selection(), progress=go_away)
        assert seconds() - since < PROMISED
    proxy.drop()
    eventually(lambda: letters.count() > 0)
    left = [int(each.task_id or -1) for each in letters.list()]
    assert left == list(range(left[0], 300))
    assert left[0] <= 150


def test_the_letters_of_a_reader_that_lost_its_connection_can_be_read_at_once(
    by_proxy: tuple[DeadLetters, Proxy],
) -> None:
    letters, proxy = by_proxy
    put(letters, *map(letter, range(100)))

    def cut(step: Step) -> None:
        if step.passed == 50:
            proxy.cut()

    with pytest.raises(BrokerUnavailable):
        letters.discard(Selection(tenant="bolt"), progress=cut)
    assert len(letters.list()) == 100
