"""Rates and admission on a real Redis, judged by the times that the script decided.

Concurrency and claims: see test_limiter_leases.py and test_limiter_claims.py.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count, pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from taketurns.limits.limiter import Admission, Limiter, Limits
from taketurns.limits.rate import RateLimit, parse_rate
from taketurns.settings import LimiterSettings, RedisSettings
from taketurns.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable


FRESH = count()


def tenant_rate(text: str) -> Limits:
    return Limits(tenant_rate=parse_rate(text))


def admit(limiter: Limiter, limits: Limits, *, tenant: str = "acme", task: str = "mail") -> Admission:
    return limiter.admit(tenant, task, limits, lease=f"lease-{next(FRESH)}")


class Bucket:
    """A leaky bucket, in starts: another form of GCRA than the script's, so that they don't share a mistake."""

    def __init__(self) -> None:
        self.level = 0.0
        self.at = 0
        self.interval = 1.0

    def look(self, decided_at: float, rate: RateLimit) -> float:
        """Leak until then, take over the rate as it is then, and return the seconds until a start fits in."""
        now = round(decided_at * 1e6)  # whole again: as seconds, today's dates are not exact to a microsecond
        leaked = (now - self.at) / 1e6 / self.interval
        self.level = min(max(0.0, self.level - leaked), rate.burst + 0.05)
        self.at, self.interval = now, rate.interval
        return max(0.0, (self.level - (rate.burst - 0.95)) * rate.interval)


RATES = [
    parse_rate(rate) for rate in ("1000/1s", "300/1s:3", "100/1s", "5/1s:4", "7/2s", "1/1h", "10/1s:1000")
]
CALLS = st.tuples(st.sampled_from([None, *RATES]), st.sampled_from([None, *RATES]), st.sampled_from("ab"))
CLOSE = 2e-6
"""Seconds by which waits may differ from the model's, since the script rounds them up to microseconds."""


@given(calls=st.lists(CALLS, min_size=1, max_size=50))
@example(calls=[(RATES[0], RATES[1], task) for task in "ab"] * 40)
@example(calls=[(RATES[5], None, "a")] * 3 + [(RATES[2], None, "a")] * 100)
@hypothesis_settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_decision_is_the_models(
    limiter: Limiter, calls: list[tuple[RateLimit, RateLimit, str]]
) -> None:
    """Whatever the rates, their changes and refusals: each decision, wait and reason is a leaky bucket's."""
    tenant = f"t{next(FRESH)}"
    buckets = {"tenant_rate": Bucket(), "a": Bucket(), "b": Bucket()}
    for tenants, tasks, task in calls:
        decision = admit(limiter, Limits(tenants, tasks), tenant=tenant, task=task)
        rates = {"tenant_rate": tenants, task: tasks}
        waits = {
            name: buckets[name].look(decision.decided_at, rate)
            for name, rate in rates.items()
            if rate is not None
        }
        longest = max(waits.values(), default=0.0)
        assert decision.retry_after == pytest.approx(longest, abs=CLOSE)
        assert decision.admitted == (decision.retry_after == 0)
        if decision.admitted:
            for name in waits:
                buckets[name].level += 1
                waits[name] = buckets[name].look(decision.decided_at, rates[name] or RATES[0])
            longest = max(waits.values(), default=0.0)
            assert decision.next_after == pytest.approx(longest, abs=CLOSE)
        if decision.reason is None:
            assert longest <= CLOSE
        else:
            longest_of = {
                "tenant_rate" if name == "tenant_rate" else "task_rate": wait for name, wait in waits.items()
            }
            assert longest_of[str(decision.reason)] == pytest.approx(longest, abs=CLOSE)


def hammer(limiter: Limiter, limits: Limits, *, seconds: float, threads: int = 8) -> list[float]:
    """Ask for admission from many threads without a break; return when starts were admitted, sorted."""
    until = time.monotonic() + seconds

    def ask(_: int) -> list[float]:
        admitted = []
        while time.monotonic() < until:
            decision = admit(limiter, limits)
            if decision.admitted:
                admitted.append(decision.decided_at)
        return admitted

    with ThreadPoolExecutor(threads) as pool:
        return sorted(moment for moments in pool.map(ask, range(threads)) for moment in moments)


@pytest.mark.parametrize("text", ["100/1s", "50/1s:10", "300/1s:3"])
def test_many_threads_never_exceed_a_rate(limiter: Limiter, text: str) -> None:
    """In no stretch of time are more admitted than the burst and what the rate brings; but most of that is."""
    rate = parse_rate(text)
    moments = hammer(limiter, Limits(tenant_rate=rate), seconds=0.7)
    for first, start in enumerate(moments):
        for last in range(first, len(moments)):
            elapsed = moments[last] - start
            assert last - first + 1 <= rate.burst + elapsed / rate.interval + 0.05 + 1e-3
    assert len(moments) >= 0.5 * (rate.burst + (moments[-1] - moments[0]) / rate.interval)


def test_a_smooth_rate_is_evenly_spaced(limiter: Limiter) -> None:
    """Without a burst two starts are never closer than 19 twentieths of the interval."""
    moments = hammer(limiter, tenant_rate("50/1s"), seconds=0.7)
    assert len(moments) >= 15
    assert min(later - earlier for earlier, later in pairwise(moments)) >= 0.95 * 0.02 - 1e-5  # rounded times


def test_late_starts_do_not_lower_the_rate(limiter: Limiter) -> None:
    """Starts that come each up to a twentieth of an interval late, as in a worker, still reach the rate."""
    limits = tenant_rate("50/1s")
    interval = 1 / 50
    first = last = admit(limiter, limits)
    lateness: list[float] = []
    while len(lateness) < 40:
        due = time.monotonic() + last.next_after + 0.0008
        while time.monotonic() < due:
            pass
        while not (decision := admit(limiter, limits)).admitted:
            pass
        lateness.append(decision.decided_at - last.decided_at - last.next_after)
        last = decision
    # Only what a start is later than that may shift the ones after it.
    too_late = sum(max(0.0, late - 0.05 * interval) for late in lateness)
    assert sum(lateness) > 40 * 0.0005
    assert last.decided_at - first.decided_at <= 40 * interval + too_late + CLOSE


def test_retry_after_is_exact(limiter: Limiter) -> None:
    """A refused start is admitted after its wait, and refused at any moment before."""
    limits = tenant_rate("20/1s")
    assert admit(limiter, limits).admitted
    due = None
    while not (decision := admit(limiter, limits)).admitted:
        assert decision.reason == "tenant_rate"
        moment = decision.decided_at + decision.retry_after
        assert due is None or moment == pytest.approx(due, abs=CLOSE)
        due = moment
    assert due is not None
    assert due <= decision.decided_at


def test_next_after_foretells_the_next_admission(limiter: Limiter) -> None:
    """An admission tells when the next of its kind may come, and 0 while the burst lasts."""
    limits = Limits(parse_rate("10/1s:3"), parse_rate("1/1s:2"))
    first, second, third = (admit(limiter, limits) for _ in range(3))
    assert (first.admitted, first.next_after) == (True, 0)
    assert second.admitted
    assert second.next_after == pytest.approx(0.95, abs=0.05)
    assert (third.admitted, third.reason) == (False, "task_rate")
    assert third.decided_at + third.retry_after == pytest.approx(
        second.decided_at + second.next_after, abs=CLOSE
    )


# All or nothing


def test_a_task_rates_refusal_leaves_the_tenants_tokens(limiter: Limiter) -> None:
    """When the task's rate refuses, the tenant's rate and its concurrency are not charged."""
    limits = Limits(parse_rate("10/1h:10"), parse_rate("1/1h"), max_concurrency=2)
    assert admit(limiter, limits).admitted
    refusals = [admit(limiter, limits) for _ in range(20)]
    assert {refusal.reason for refusal in refusals} == {"task_rate"}
    others = [admit(limiter, Limits(limits.tenant_rate, None, 2), task="other") for _ in range(2)]
    assert [(other.admitted, other.reason) for other in others] == [
        (True, "concurrency"),
        (False, "concurrency"),
    ]
    (status,) = limiter.status("acme", limits.tenant_rate, {})
    assert status.tokens == pytest.approx(8.05, abs=0.02)


def test_a_tenant_rates_refusal_leaves_the_tasks_tokens(limiter: Limiter) -> None:
    """When the tenant's rate refuses, the task's rate is not charged."""
    limits = Limits(parse_rate("1/1h"), parse_rate("5/1h:5"))
    assert admit(limiter, limits).admitted
    assert {admit(limiter, limits).reason for _ in range(20)} == {"tenant_rate"}
    (status,) = limiter.status("acme", None, {"mail": parse_rate("5/1h:5")})
    assert status.tokens == pytest.approx(4.05, abs=0.01)


def test_tenants_and_tasks_are_apart(limiter: Limiter) -> None:
    """A tenant's use is none of another's, nor a task's of another task's."""
    limits = Limits(task_rate=parse_rate("1/1h"))
    for tenant in ("acme", "acme:mail", "a+b@c"):
        for task in ("mail", "mail:mail", "{x}", ""):
            assert admit(limiter, limits, tenant=tenant, task=task).admitted
            assert not admit(limiter, limits, tenant=tenant, task=task).admitted


# Changes at run time


def test_a_faster_rate_applies_at_once(limiter: Limiter) -> None:
    """A start of 1/1h is paid off in 10 ms once the rate is 100/1s, also when the first ask comes too early."""
    assert admit(limiter, tenant_rate("1/1h")).admitted
    slow = admit(limiter, tenant_rate("1/1h"))
    assert slow.retry_after == pytest.approx(0.95 * 3600, abs=1)
    decision = admit(limiter, tenant_rate("100/1s"))
    assert decision.retry_after <= 0.01
    due = decision.decided_at + decision.retry_after
    while not decision.admitted:
        assert decision.decided_at < due
        decision = admit(limiter, tenant_rate("100/1s"))


def test_a_slower_rate_applies_at_once(limiter: Limiter) -> None:
    """A start of a moment ago is not forgotten when the rate becomes slower: the next waits by the new rate."""
    fast = admit(limiter, tenant_rate("10/1s"))
    slow = admit(limiter, tenant_rate("1/1h"))
    passed = slow.decided_at - fast.decided_at
    assert slow.retry_after == pytest.approx((0.95 - passed / 0.1) * 3600, abs=1)


def test_a_smaller_burst_applies_at_once(limiter: Limiter) -> None:
    """Starts of a larger burst do not lock a tenant out for longer than one interval of the new limit."""
    for _ in range(100):
        assert admit(limiter, tenant_rate("10/1m:100")).admitted
    assert admit(limiter, tenant_rate("10/1m")).retry_after == pytest.approx(6, abs=0.01)


def test_a_larger_burst_applies_at_once(limiter: Limiter) -> None:
    """A burst that was raised can be used at once, less what was used before."""
    assert admit(limiter, tenant_rate("1/1h")).admitted
    assert [admit(limiter, tenant_rate("1/1h:3")).admitted for _ in range(3)] == [True, True, False]


def test_workers_that_disagree_lock_nobody_out(limiter: Limiter) -> None:
    """While some workers know the new rate and some the old one, starts go on, at no more than the faster rate."""
    rates = [tenant_rate("100/1s"), tenant_rate("50/1s")]
    moments: list[float] = []
    while len(moments) < 20:
        decision = admit(limiter, rates[next(FRESH) % 2])
        if decision.admitted:
            moments.append(decision.decided_at)
        else:
            assert decision.retry_after <= 0.02
    assert min(later - earlier for earlier, later in pairwise(moments)) >= 0.95 * 0.01


def test_a_clock_set_back_locks_nobody_out(limiter: Limiter, store: Store) -> None:
    """What is stored from a far future, or is no rate at all, delays a start by one interval at most."""
    key = store.tenant_key("acme", "tenant_rate")
    store.call(lambda redis: redis.set(key, "9000000000000000 6000000 6000000", px=60_000))
    assert admit(limiter, tenant_rate("10/60s")).retry_after == pytest.approx(6, abs=0.01)
    store.call(lambda redis: redis.set(key, "nonsense", px=60_000))
    assert admit(limiter, tenant_rate("10/60s")).admitted


# Keys


def test_keys_expire_when_they_no_longer_matter(
    limiter: Limiter, store: Store, redis_prefix: str, eventually: Callable[..., None]
) -> None:
    """A limit leaves nothing in Redis once it is as if it had never been used."""

    def keys() -> list[str]:
        return list(store.call(lambda redis: redis.keys(f"{redis_prefix}:*")))

    limiter = Limiter(store, LimiterSettings(lease=0.2))
    limits = Limits(parse_rate("10/1s"), parse_rate("10/1s:2"), max_concurrency=1)
    assert admit(limiter, limits).admitted
    assert limiter.claim("acme", "mail", limits, owner="w", lead=0.2, ttl=0.2) > 0
    assert limiter.claim("acme", "mail", Limits(parse_rate("10/1s")), owner="w", lead=0.2, ttl=0.2) == 0
    assert len(keys()) == 4
    eventually(lambda: keys() == [], within=2)


def test_no_key_lasts_for_ever(limiter: Limiter, store: Store, redis_prefix: str) -> None:
    """Every key of a tenant has an expiry, and lasts as long as it matters."""
    limits = Limits(parse_rate("1/1h"), parse_rate("1/2h"), max_concurrency=1)
    admit(limiter, limits)
    limiter.claim("acme", "mail", limits, owner="w", lead=7200, ttl=5)
    limiter.claim("acme", "mail", Limits(parse_rate("1/1h")), owner="w", lead=7200, ttl=5)
    expected = {"tenant_rate": 3600, "task_rate:mail": 7200, "leases": 60, "claims": 5}
    for part, seconds in expected.items():
        key = store.tenant_key("acme", part)
        assert store.call(lambda redis, key=key: redis.pttl(key)) == pytest.approx(seconds * 1000, abs=500)  # type: ignore[misc]


def test_extreme_limits_are_kept(limiter: Limiter) -> None:
    """The largest and the smallest rates that can be written do what they say."""
    assert admit(limiter, tenant_rate("1/999999999d")).admitted
    assert admit(limiter, tenant_rate("1/999999999d")).retry_after > 1e9
    for _ in range(3):
        assert admit(limiter, tenant_rate("1/999999999d:999999999"), tenant="bursts").admitted
        assert admit(limiter, tenant_rate("999999999/1s"), tenant="fast").admitted


def test_without_limits_redis_is_not_asked(limiter: Limiter, store: Store, redis_prefix: str) -> None:
    """A tenant without limits costs no call: it is admitted even by a limiter whose Redis does not exist."""
    nowhere = Store(RedisSettings(redis_url="redis://127.0.0.1:1"))
    limiter = Limiter(nowhere, LimiterSettings(when_redis_is_away="closed"))
    assert not Limits()
    assert admit(limiter, Limits()) == Admission(admitted=True)
    assert limiter.claim("acme", "mail", Limits(), owner="w", ttl=1) == 0


# Status


def test_status_of_an_unused_limit(limiter: Limiter) -> None:
    """A limit that nothing has used yet is full."""
    status = limiter.status("acme", parse_rate("10/60s:5"), {})
    assert [(s.scope, s.limit, s.tokens, s.capacity, s.next_token_in) for s in status] == [
        ("tenant", "10/1m:5", 5, 5, 0)
    ]
    assert status[0].refill_per_second == pytest.approx(1 / 6)


def test_status_tells_each_scope(limiter: Limiter) -> None:
    """The tenant's rate comes first, then each task's; a task may be called tenant, too."""
    limits = Limits(parse_rate("1/1h"), parse_rate("2/1h:2"))
    assert admit(limiter, limits, task="tenant").admitted
    status = limiter.status(
        "acme", limits.tenant_rate, {"tenant": parse_rate("2/1h:2"), "other": parse_rate("1/1m")}
    )
    assert [(s.scope, s.limit) for s in status] == [
        ("tenant", "1/1h"),
        ("tenant", "2/1h:2"),
        ("other", "1/1m"),
    ]
    assert [round(s.tokens, 2) for s in status] == [0.05, 1.05, 1]
    assert [round(s.next_token_in) for s in status] == [3420, 0, 0]
    assert limiter.status("acme", None, {}) == []


@given(used=st.integers(0, 12), rate=st.sampled_from(["10/1h:5", "1/1h", "3600/1h:10"]))
@hypothesis_settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_token_is_a_start(limiter: Limiter, used: int, rate: str) -> None:
    """A start is admitted exactly if the status tells a whole token, and takes one."""
    tenant = f"t{next(FRESH)}"
    for _ in range(used):
        admit(limiter, tenant_rate(rate), tenant=tenant)
    (before,) = limiter.status(tenant, parse_rate(rate), {})
    assert (before.tokens >= 1) == (before.next_token_in == 0)
    admitted = admit(limiter, tenant_rate(rate), tenant=tenant).admitted
    assert admitted == (before.tokens >= 1)
    (after,) = limiter.status(tenant, parse_rate(rate), {})
    # A full bucket hides the twentieth of a start that may come early.
    assert before.tokens - after.tokens == pytest.approx(1.0 if admitted else 0.0, abs=0.11)


def test_status_changes_nothing(limiter: Limiter) -> None:
    """Looking at a limit with another rate, as after a change, leaves it as it is."""
    assert admit(limiter, tenant_rate("1/1h")).admitted
    (status,) = limiter.status("acme", parse_rate("100/1s"), {})
    assert 0 < status.next_token_in <= 0.01
    assert admit(limiter, tenant_rate("1/1h")).retry_after == pytest.approx(3420, abs=1)
