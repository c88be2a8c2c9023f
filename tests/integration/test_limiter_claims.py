"""Who fetches a throttled tenant's next message: claims on a real Redis."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING

import pytest

from taketurns.limits.limiter import Limiter, Limits
from taketurns.limits.put_offs import CONCURRENCY_POLL
from taketurns.limits.rate import parse_rate

if TYPE_CHECKING:
    from collections.abc import Callable


FRESH = count()
HOURLY = Limits(parse_rate("1/1h"))
INTERVAL = 3600.0
TTL = 30.0


def claim(
    limiter: Limiter, owner: str, limits: Limits = HOURLY, *, lead: float = 0.0, ttl: float = TTL
) -> float:
    return limiter.claim("acme", "mail", limits, owner=owner, lead=lead, ttl=ttl)


def admit(limiter: Limiter, limits: Limits = HOURLY, *, owner: str = "") -> bool:
    lease = f"lease-{next(FRESH)}"
    return limiter.admit("acme", "mail", limits, lease=lease, owner=owner).admitted


def test_one_worker_fetches_for_one_token(limiter: Limiter) -> None:
    """A token's claim is one worker's, who may ask again; others are told to ask when it would have ended."""
    assert claim(limiter, "one") == 0
    assert 0 < claim(limiter, "two") <= TTL
    assert 0 < claim(limiter, "three") <= TTL
    assert claim(limiter, "one") == 0


def test_a_claim_spends_nothing(limiter: Limiter) -> None:
    """However often it is claimed, the token is there for whoever comes with a message."""
    for _ in range(5):
        claim(limiter, "one")
        claim(limiter, "two")
    assert admit(limiter, owner="one")
    assert not admit(limiter, owner="one")


@pytest.mark.parametrize("owner", ["one", "two", ""])
def test_an_admission_uses_the_claim_up(limiter: Limiter, owner: str) -> None:
    """After the claim's owner, or anybody else, took the token, the next claim waits only for the next token."""
    assert claim(limiter, "one") == 0
    assert admit(limiter, owner=owner)
    assert claim(limiter, "two", lead=0) == pytest.approx(0.95 * INTERVAL, abs=1)
    assert claim(limiter, "two", lead=INTERVAL) == 0


def test_a_refusal_uses_no_claim_up(limiter: Limiter) -> None:
    """An owner whose message came too early keeps its claim until it comes in time."""
    assert admit(limiter)
    assert claim(limiter, "one", lead=INTERVAL) == 0
    assert not admit(limiter, owner="one")
    assert claim(limiter, "two", lead=INTERVAL) > 0
    assert claim(limiter, "one", lead=INTERVAL) == 0


def test_an_owners_admission_uses_its_own_claim_up(limiter: Limiter) -> None:
    """Of several claims the owner's is used up, so that it can claim again and the other's stays."""
    limits = Limits(parse_rate("1/1h:2"))
    assert claim(limiter, "one", limits) == 0
    assert claim(limiter, "two", limits, ttl=TTL / 2) == 0
    assert admit(limiter, limits, owner="one")
    assert claim(limiter, "two", limits) == 0
    assert claim(limiter, "three", limits) > 0


def test_a_claim_is_granted_ahead_of_its_token(limiter: Limiter) -> None:
    """A claim is granted `lead` seconds before the token is there, and earlier asks are told when that is."""
    assert admit(limiter)
    assert claim(limiter, "one", lead=100) == pytest.approx(0.95 * INTERVAL - 100, abs=1)
    assert claim(limiter, "one", lead=0.95 * INTERVAL + 1) == 0


def test_a_bursts_tokens_are_fetched_side_by_side(limiter: Limiter) -> None:
    """Of three tokens that are there three workers may fetch one each, and no fourth."""
    limits = Limits(parse_rate("1/1h:3"))
    assert [claim(limiter, owner, limits) for owner in ("one", "two", "three")] == [0, 0, 0]
    assert claim(limiter, "four", limits) > 0
    assert admit(limiter, limits, owner="two")
    assert claim(limiter, "four", limits) > 0
    assert [admit(limiter, limits, owner=owner) for owner in ("one", "three", "four")] == [True, True, False]


def test_a_claim_can_be_given_up(limiter: Limiter) -> None:
    """Who found no message lets another fetch at once; giving up twice, or without a claim, does no harm."""
    assert claim(limiter, "one") == 0
    limiter.unclaim("acme", "two")
    assert claim(limiter, "two") > 0
    limiter.unclaim("acme", "one")
    limiter.unclaim("acme", "one")
    assert claim(limiter, "two") == 0


def test_a_refused_claim_is_given_up(limiter: Limiter) -> None:
    """Two who hold claims for one token, since the burst was made smaller, do not block each other."""
    assert [claim(limiter, owner, Limits(parse_rate("1/1h:2"))) for owner in ("one", "two")] == [0, 0]
    assert claim(limiter, "one") > 0
    assert claim(limiter, "two") == 0


def test_a_dead_owners_claim_ends(limiter: Limiter, eventually: Callable[..., None]) -> None:
    """A claim that is neither used nor given up ends after its ttl, and the others are told so."""
    assert claim(limiter, "dead", ttl=0.2) == 0
    assert 0 < claim(limiter, "two") <= 0.2
    eventually(lambda: claim(limiter, "two") == 0, within=2)


def test_a_running_task_takes_its_place(limiter: Limiter) -> None:
    """There is no claim for a place that is taken, nor two for one that is free."""
    limits = Limits(max_concurrency=2)
    assert limiter.admit("acme", "mail", limits, lease="a").admitted
    assert claim(limiter, "one", limits) == 0
    assert claim(limiter, "two", limits) == CONCURRENCY_POLL
    assert limiter.admit("acme", "mail", limits, lease="b", owner="one").admitted
    assert claim(limiter, "two", limits) == CONCURRENCY_POLL
    limiter.release("acme", "a")
    assert claim(limiter, "two", limits) == 0


def test_the_tasks_rate_counts_too(limiter: Limiter) -> None:
    """A claim waits for the slower of the two rates."""
    limits = Limits(parse_rate("100/1s"), parse_rate("1/1h"))
    assert admit(limiter, limits)
    assert claim(limiter, "one", limits) == pytest.approx(0.95 * INTERVAL, abs=1)


def test_a_changed_rate_applies_to_claims(limiter: Limiter, eventually: Callable[..., None]) -> None:
    """A tenant whose workers only claim, since it is throttled, feels a faster rate at once."""
    assert admit(limiter)
    assert claim(limiter, "one") > 0
    assert claim(limiter, "one", Limits(parse_rate("100/1s"))) <= 0.01
    eventually(lambda: claim(limiter, "one", Limits(parse_rate("100/1s"))) == 0, within=1)


def test_of_many_claims_at_once_one_is_granted(limiter: Limiter) -> None:
    """Of workers that ask at the same time exactly one is elected."""
    with ThreadPoolExecutor(8) as threads:
        waits = list(threads.map(lambda owner: claim(limiter, str(owner)), range(64)))
    assert waits.count(0) == 1
