"""What a worker knows of messages that come back, with a real Redis and a real thread beside a real loop."""

from __future__ import annotations

import uuid
from contextlib import closing
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from kombu.asynchronous import Hub

from taketurns.records.recorder import SUBMISSION_HEADER
from taketurns.worker.background import Background
from taketurns.worker.comebacks import Comebacks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taketurns import TakeTurns

_DEADLINE = 20.0


@dataclass
class Message:
    """A message of acme's queue, as far as it matters here."""

    redelivered: bool
    owner: str = "acme"
    headers: dict[str, Any] = field(
        default_factory=lambda: {
            "id": str(uuid.uuid4()),
            "task": "work",
            "retries": 0,
            SUBMISSION_HEADER: "s1",
        }
    )

    @property
    def id(self) -> str:
        return str(self.headers["id"])


@pytest.fixture
def hub() -> Iterator[Hub]:
    with closing(Hub()) as hub:
        yield hub


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time as the code under test sees it; it goes on by hand only."""
    clock = [1000.0]
    monkeypatch.setattr("taketurns.worker.comebacks.monotonic", lambda: clock[0])
    return clock


@pytest.fixture
def background(hub: Hub) -> Iterator[Background]:
    with closing(Background(hub)) as background:
        yield background


@pytest.fixture
def beside(hub: Hub, background: Background) -> Callable[[], None]:
    """Waits until everything that was begun beside the loop is done."""

    def wait() -> None:
        done: list[None] = []
        background.submit(lambda: None, done.append)
        deadline = monotonic() + _DEADLINE
        while not done:
            assert monotonic() < deadline
            hub.call_later(0.01, lambda: None)
            next(hub.loop)

    return wait


def _forbid(turns: TakeTurns, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object) -> None:
        raise AssertionError("Redis is asked")

    monkeypatch.setattr(turns.registry.starts, "count", ask)
    monkeypatch.setattr(turns.records, "gone_on", ask)


def test_what_only_this_worker_has_had_is_not_looked_up(
    turns: TakeTurns, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes back since this worker gave it back, and its first start is one like that of a first delivery."""
    comebacks = Comebacks(turns, background)
    message: Any = Message(redelivered=False)
    comebacks.goes_back(message)
    message.redelivered = True
    with monkeypatch.context() as patch:
        _forbid(turns, patch)
        assert comebacks.gone_on(message) is None
        assert comebacks.count_start(message) == 0
    assert comebacks.count_start(message) == 1, "what comes back once more has been started"
    assert turns.registry.starts.of(message.id) == 1


def test_what_others_gave_back_is_looked_up_before_it_has_its_turn(
    turns: TakeTurns, background: Background, beside: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its start is counted beside the loop."""
    comebacks = Comebacks(turns, background)
    message: Any = Message(redelivered=True)
    comebacks.goes_back(message)
    beside()
    with monkeypatch.context() as patch:
        patch.setattr(turns.records, "gone_on", None)
        assert comebacks.gone_on(message) is None
    assert comebacks.count_start(message) == 1
    beside()
    assert turns.registry.starts.of(message.id) == 1
    assert comebacks.count_start(message) == 2


def test_what_was_started_before_is_counted_at_once(
    turns: TakeTurns, background: Background, beside: Callable[[], None]
) -> None:
    """A crash loop may not outrun the count."""
    comebacks = Comebacks(turns, background)
    message: Any = Message(redelivered=True)
    turns.registry.starts.count(message.id)
    comebacks.goes_back(message)
    beside()
    assert comebacks.count_start(message) == 2


def test_what_has_ended_is_over_though_it_was_looked_up(
    turns: TakeTurns, background: Background, beside: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    comebacks = Comebacks(turns, background)
    message: Any = Message(redelivered=True)
    monkeypatch.setattr(turns.records, "gone_on", lambda *_: "SUCCESS")
    comebacks.goes_back(message)
    beside()
    assert comebacks.gone_on(message) == "SUCCESS"


def test_an_answer_that_comes_after_the_start_tells_nothing(
    turns: TakeTurns, background: Background, beside: Callable[[], None]
) -> None:
    comebacks = Comebacks(turns, background)
    message: Any = Message(redelivered=True)
    comebacks.goes_back(message)
    assert comebacks.count_start(message) == 1
    beside()
    assert comebacks.count_start(message) == 2


@pytest.mark.parametrize("lost", [True, False])
def test_it_is_believed_for_a_moment_only(
    turns: TakeTurns, background: Background, clock: list[float], lost: bool
) -> None:
    """Others may have started it since, above all when connections were lost."""
    comebacks = Comebacks(turns, background)
    message: Any = Message(redelivered=False)
    comebacks.goes_back(message)
    message.redelivered = True
    if lost:
        comebacks.forget_lost()
    else:
        clock[0] += 0.2
    assert comebacks.count_start(message) == 1


def test_a_malformed_message_goes_back_too(turns: TakeTurns, background: Background) -> None:
    message: Any = Message(redelivered=True, headers={"id": ["no", "id"]})
    Comebacks(turns, background).goes_back(message)
