"""A team's weight function: whom it is asked about, what it is told, and what becomes of its answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

from taketurns import TakeTurns, TenantShare
from taketurns.errors import InvalidInput, InvalidWeight
from taketurns.registry import TenantSettings
from taketurns.worker import weigher
from taketurns.worker.commands import Park
from taketurns.worker.shares import WINDOW, RecentShares
from taketurns.worker.turns import Turns
from taketurns.worker.weigher import Asked, Weigher, answers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Later:
    """A background whose job runs when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []

    def submit(self, job: Callable[[], Any], done: Callable[[Any], None], failed: Any) -> None:
        self.jobs.append((job, done))

    def run(self) -> None:
        job, done = self.jobs.pop()
        done(job())

    def close(self) -> None:
        self.jobs.clear()


class Case:
    """A weigher of a scheduler in which some tenants wait."""

    def __init__(self, function: Callable[[TenantShare], Any], *waiting: str) -> None:
        self.turns: Turns[int] = Turns()
        for tenant in waiting:
            self.turns.add(f"usersequence_{tenant}", backlog=10)
        self.settings: dict[str, TenantSettings] = {}
        self.background = Later()
        self.used: dict[str, float] = {}
        self.now = 0.0
        background: Any = self.background
        self.weigher = Weigher(function, background, self.used.update)
        self.weigher.shares = RecentShares(0.0)

    def round(self) -> Mapping[str, float]:
        """Ask and answer; return the weights that are used since, by tenant."""
        self.ask()
        self.background.run()
        return {queue.removeprefix("usersequence_"): weight for queue, weight in self.used.items()}

    def ask(self, after: float = 1.0) -> None:
        self.now += after
        self.weigher.ask(self.turns, self.settings, self.now)


# ---- what it is told, and about whom


def test_its_result_is_the_weight() -> None:
    """It is told what an operator has set; what it returns is the weight, whatever was set."""
    told: list[TenantShare] = []

    def function(tenant: TenantShare) -> float:
        told.append(tenant)
        return 2 * tenant.weight

    case = Case(function, "acme", "plain")
    case.settings["acme"] = TenantSettings(weight=3.0, tags={"plan": "pro"}, metadata={"seats": 5})
    assert case.round() == {"acme": 6.0, "plain": 2.0}
    assert told == [
        TenantShare(tenant="acme", weight=3.0, tags={"plan": "pro"}, metadata={"seats": 5}),
        TenantShare(tenant="plain"),
    ]
    assert case.weigher.weight("usersequence_acme", 3.0) == 6.0
    assert case.weigher.weight("usersequence_never_asked", 3.0) == 3.0


def test_it_is_told_recent_shares() -> None:
    """Of what ended and of what runs, though that is not charged yet."""
    case = Case(lambda tenant: 1 + tenant.share, "a", "b")
    case.turns.fetched("usersequence_a", 1, 9)
    case.turns.decide(slots=1, free=1, now=6.0)
    case.weigher.shares.ended("usersequence_b", 1.0, 2.0)
    case.now = 8.0
    assert case.round() == {"a": 1.75, "b": 1.25}


def test_idle_and_paused_tenants_are_not_asked_about() -> None:
    """10,000 tenants that do nothing cost no call."""
    case = Case(lambda _: 5.0, "busy", "throttled", "paused")
    for number in range(10_000):
        case.turns.add(f"usersequence_idle{number}")
    case.turns.park("usersequence_paused", Park.PAUSED)
    case.turns.park("usersequence_throttled", Park.THROTTLED, 100.0)
    assert case.round() == {"busy": 5.0, "throttled": 5.0}


def test_the_calls_of_a_round_are_bounded() -> None:
    """With more tenants than a round has calls everybody comes before anybody comes again."""
    calls: list[str] = []

    def function(tenant: TenantShare) -> float:
        calls.append(tenant.tenant)
        return 1.0

    case = Case(function, *(f"t{number}" for number in range(2500)))
    case.round()
    assert len(calls) == 1000
    case.round()
    case.round()
    assert len(calls) == 3000
    assert len(set(calls[:2500])) == 2500
    assert calls[2500:] == calls[:500]


def test_a_slow_function_makes_rounds_of_few_calls() -> None:
    """A round ends after a second; whom it did not reach comes first in the next."""
    asked = [Asked(f"usersequence_{number}", TenantSettings(), 0.0) for number in range(5)]
    ticks = iter([0.0, 0.4, 0.8, 1.2, 1.6])
    said = answers(lambda _: 1.0, asked, lambda: next(ticks))
    assert [each.queue for each, _ in said] == ["usersequence_0", "usersequence_1", "usersequence_2"]


def test_nobody_is_asked_about_twice_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    """While it does not return no other round begins; that is told once, and also that it returns again."""
    caplog.set_level("INFO")
    case = Case(lambda _: 2.0, "a")
    for _ in range(30):
        case.ask()
    assert len(case.background.jobs) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "has not returned" in caplog.text
    case.background.run()
    assert case.round() == {"a": 2.0}
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


# ---- failures


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, 1e7, 1e-7, True, None, "2", [1]])
def test_a_bad_result_is_none(bad: object) -> None:
    """Anything but a number in the range of weights is refused, and the error says what is accepted."""
    case = Case(lambda _: bad, "a")
    assert case.round() == {}
    ((_, error),) = answers(lambda _: bad, [Asked("usersequence_a", TenantSettings(), 0.0)])  # type: ignore[return-value,arg-type]
    assert isinstance(error, InvalidWeight)
    assert str(error).startswith(f"weight_function: {bad!r} is not valid; accepted is a number above zero")


@pytest.mark.parametrize("error", [ValueError("no plan"), SystemExit(1), KeyboardInterrupt()])
def test_an_outage_is_told_once(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """However many tenants and seconds it has; where the function works its answers are used."""
    caplog.set_level("INFO")
    failing = {"a", "b"}

    def function(tenant: TenantShare) -> float:
        if tenant.tenant in failing:
            raise error
        return 4.0

    case = Case(function, "a", "b", "c")
    for _ in range(5):
        assert case.round() == {"c": 4.0}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "failed for tenant a" in caplog.text
    failing.discard("a")
    case.round()
    assert len(caplog.records) == 1, "it still fails for another tenant"
    failing.clear()
    assert case.round() == {"a": 4.0, "b": 4.0, "c": 4.0}
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    failing.add("c")
    case.round()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


def test_one_tenant_now_and_then_is_no_new_outage(caplog: pytest.LogCaptureFixture) -> None:
    """A failure counts for a minute after its tenant has become idle."""
    case = Case(lambda _: 0.0, "a")
    queue = "usersequence_a"
    for _ in range(5):
        case.round()
        case.turns.park(queue, Park.PAUSED)
        case.ask(after=5)
        case.turns.unpark(queue, Park.PAUSED)
    assert len(caplog.records) == 1
    case.turns.park(queue, Park.PAUSED)
    case.ask(after=61)
    case.turns.unpark(queue, Park.PAUSED)
    case.round()
    assert len(caplog.records) == 2


def test_the_last_good_weight_is_kept_until_an_operator_sets_another() -> None:
    """What the function said holds while it fails; what an operator says during that time is the later word."""
    works = True

    def function(_: TenantShare) -> float:
        if works:
            return 7.0
        raise ValueError

    case = Case(function, "a")
    assert case.round() == {"a": 7.0}
    works = False
    case.used.clear()
    assert case.round() == {}
    assert case.weigher.weight("usersequence_a", 1.0) == 7.0
    case.settings["a"] = TenantSettings(weight=2.0)
    assert case.round() == {"a": 2.0}
    assert case.weigher.weight("usersequence_a", 2.0) == 2.0


def test_tenants_that_are_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once they are many, so that a worker's memory does not grow with every tenant that ever was."""
    monkeypatch.setattr(weigher, "_MOST", 10)
    case = Case(lambda _: 2.0)
    for number in range(100):
        case.turns.add(f"usersequence_{number}", backlog=1)
        case.round()
        case.turns.remove(f"usersequence_{number}")
    assert len(case.weigher._said) <= 12


def test_what_can_not_be_called_is_refused() -> None:
    """The extension says so where it is installed, and not the worker later."""
    function: Any = 2.0
    with pytest.raises(InvalidInput, match=r"weight_function: 2.0 is not valid; accepted is a function"):
        TakeTurns(Celery(set_as_current=False), weight_function=function)


# ---- recent shares


def test_shares_are_those_of_the_window() -> None:
    """What was used before is forgotten, to the last microsecond."""
    shares = RecentShares(0.0)
    shares.ended("a", 0.0, 0.1)
    shares.ended("a", 0.1, 0.3)
    shares.ended("b", 0.2, 0.3)
    shares.advance(1.0, [])
    assert shares.of("a") == pytest.approx(0.75)
    shares.ended("b", 30.0, 30.3)
    shares.advance(31.0, [])
    assert shares.of("a") == pytest.approx(3 / 7)
    shares.advance(1.0 + WINDOW, [])
    assert (shares.of("a"), shares.of("b")) == (0.0, 1.0)
    shares.advance(31.0 + WINDOW, [])
    assert (shares.of("b"), shares._totals, shares._sum) == (0.0, {}, 0)


def test_a_running_task_counts_once() -> None:
    """Each second for itself, and the rest when it has ended."""
    shares = RecentShares(0.0)
    for second in range(1, 6):
        shares.advance(float(second), [("long", 0.5)])
    shares.ended("long", 0.5, 5.5)
    shares.ended("short", 0.0, 5.0)
    shares.ended("short", 5.0, 10.0)
    shares.advance(10.0, [])
    assert shares._totals == {"long": 5_000_000, "short": 5_000_000}
