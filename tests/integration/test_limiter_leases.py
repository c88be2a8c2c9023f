"""How many tasks of a tenant run at once: leases on a real Redis."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from taketurns.limits.limiter import Admission, Limiter, Limits
from taketurns.limits.put_offs import CONCURRENCY_POLL
from taketurns.limits.rate import parse_rate
from taketurns.settings import LimiterSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from taketurns.store import Store


TWO = Limits(max_concurrency=2)


def admit(limiter: Limiter, lease: str, limits: Limits = TWO) -> Admission:
    return limiter.admit("acme", "mail", limits, lease=lease)


def test_as_many_run_as_may(limiter: Limiter) -> None:
    """The third of two is refused until one of them ends."""
    first, second, third = (admit(limiter, lease) for lease in "abc")
    assert (first.admitted, first.next_after) == (True, 0)
    assert (second.admitted, second.next_after) == (True, CONCURRENCY_POLL)
    assert (third.admitted, third.reason, third.retry_after) == (False, "concurrency", CONCURRENCY_POLL)
    limiter.release("acme", "a")
    assert admit(limiter, "c").admitted
    assert not admit(limiter, "d").admitted


def test_a_lease_can_be_released_twice(limiter: Limiter) -> None:
    """Releasing again, or what was never admitted, frees nobody else's place."""
    assert admit(limiter, "a").admitted
    assert admit(limiter, "b").admitted
    for _ in range(3):
        limiter.release("acme", "a")
        limiter.release("acme", "never")
        limiter.release("nobody", "b")
    assert [admit(limiter, lease).admitted for lease in "cd"] == [True, False]


def test_the_same_start_takes_one_place(limiter: Limiter) -> None:
    """A message that is admitted again, as after its worker was killed, takes no second place."""
    assert [admit(limiter, "a").admitted for _ in range(3)] == [True, True, True]
    assert [admit(limiter, lease).admitted for lease in "bc"] == [True, False]
    assert admit(limiter, "b").admitted


def test_a_changed_number_applies_at_once(limiter: Limiter) -> None:
    """Fewer or more may run as soon as the number is changed; what runs is not stopped."""
    for lease in "abc":
        assert admit(limiter, lease, Limits(max_concurrency=3)).admitted
    limiter.release("acme", "a")
    assert not admit(limiter, "d", TWO).admitted
    limiter.release("acme", "b")
    assert admit(limiter, "d", TWO).admitted
    assert admit(limiter, "e", Limits(max_concurrency=4)).admitted


def test_a_rates_refusal_takes_no_place(limiter: Limiter) -> None:
    """Tasks that the rate refuses take no lease."""
    limits = Limits(parse_rate("1/1h"), None, max_concurrency=2)
    assert admit(limiter, "a", limits).admitted
    assert {admit(limiter, lease, limits).reason for lease in "bcdef"} == {"tenant_rate"}
    assert admit(limiter, "g", TWO).admitted


def test_a_refusal_for_concurrency_takes_no_token(limiter: Limiter) -> None:
    """Tasks that find no place leave the tokens of both rates alone."""
    limits = Limits(parse_rate("3/1h:3"), parse_rate("3/1h:3"), max_concurrency=1)
    assert admit(limiter, "a", limits).admitted
    assert {admit(limiter, lease, limits).reason for lease in "bcdef"} == {"concurrency"}
    for status in limiter.status("acme", limits.tenant_rate, {"mail": parse_rate("3/1h:3")}):
        assert status.tokens == pytest.approx(2.05, abs=0.01)


def test_the_longest_wait_is_told(limiter: Limiter) -> None:
    """Of a rate and a concurrency that both refuse, the wait and the reason are those of the longer one."""
    limits = Limits(parse_rate("1/1h"), None, max_concurrency=1)
    assert admit(limiter, "a", limits).admitted
    decision = admit(limiter, "b", limits)
    assert decision.reason == "tenant_rate"
    assert decision.retry_after == pytest.approx(3420, abs=1)


def test_a_killed_workers_lease_heals(store: Store, eventually: Callable[..., None]) -> None:
    """A lease that nobody renews or releases is free after its seconds, and the wait foretells it."""
    limiter = Limiter(store, LimiterSettings(lease=0.2))
    assert admit(limiter, "a", Limits(max_concurrency=1)).admitted
    refused = admit(limiter, "b", Limits(max_concurrency=1))
    assert 0 < refused.retry_after <= 0.2
    eventually(lambda: admit(limiter, "b", Limits(max_concurrency=1)).admitted, within=2)


def test_a_renewed_lease_lasts(store: Store, eventually: Callable[..., None]) -> None:
    """A lease is kept for as long as it is renewed, and a lease beside it that is not renewed ends."""
    limiter = Limiter(store, LimiterSettings(lease=0.3))
    assert admit(limiter, "kept").admitted
    assert admit(limiter, "left").admitted
    until = time.monotonic() + 0.9
    while time.monotonic() < until:
        limiter.renew({"acme": ["kept"], "nobody": [], "other": ["unknown"]})
        assert not admit(limiter, "new", Limits(max_concurrency=1)).admitted
    assert admit(limiter, "new").admitted
    limiter.release("acme", "new")
    eventually(lambda: admit(limiter, "new", Limits(max_concurrency=1)).admitted, within=2)


def test_a_released_lease_is_not_renewed(limiter: Limiter) -> None:
    """A renewal that was under way while the task ended does not bring its lease back."""
    assert admit(limiter, "a").admitted
    limiter.release("acme", "a")
    limiter.renew({"acme": ["a", "never"]})
    assert [admit(limiter, lease).admitted for lease in "bcd"] == [True, True, False]


def test_renewing_nothing_is_nothing(limiter: Limiter) -> None:
    """A worker that runs nothing may renew all the same."""
    limiter.renew({})
    limiter.renew({"acme": []})


def test_many_threads_never_run_more(limiter: Limiter) -> None:
    """However many threads try, no more than may run do at any moment."""
    running: set[int] = set()
    most = 0
    ran = 0
    lock = threading.Lock()

    def work(thread: int) -> None:
        nonlocal most, ran
        for _ in range(60):
            if admit(limiter, f"lease-{thread}", Limits(max_concurrency=3)).admitted:
                with lock:
                    running.add(thread)
                    most = max(most, len(running))
                    ran += 1
                admit(limiter, f"lease-{thread}", Limits(max_concurrency=3))  # hold it for a while
                with lock:
                    running.discard(thread)
                limiter.release("acme", f"lease-{thread}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert most == 3
    assert ran >= 60
