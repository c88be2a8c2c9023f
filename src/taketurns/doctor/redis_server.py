"""Checks of Redis: reachable, persistent, not evicting, and its clock that of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taketurns.doctor.finding import ok, problem, release, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taketurns.doctor.facts import Facts
    from taketurns.doctor.finding import Verdict

_OLDEST: Final = (6, 2)
_CLOCKS: Final = 1.0
"""Seconds by which two clocks may differ."""

_HELD = "what operators have set (rates, weights, maxima, pauses, tags)"


def connection(facts: Facts) -> Iterator[Verdict]:
    """Redis answers, and is new enough."""
    if facts.redis.trouble:
        open_or_closed = facts.settings.limiter.when_redis_is_away
        yield problem(
            facts.redis.trouble,
            f"until then tasks run with limits {open_or_closed} (TAKETURNS_LIMITER_WHEN_REDIS_IS_AWAY), settings "
            "can't be changed and no queue is removed",
        )
    elif release(version := facts.redis.get().version) < _OLDEST:
        yield warning(f"{version} is older than 6.2, the oldest one that is tried", "upgrade Redis")
    else:
        yield ok(f"{version} answers")


def persistence(facts: Facts) -> Iterator[Verdict]:
    """What is written to Redis survives its restart."""
    redis = facts.redis.get()
    if redis.appends:
        yield ok("appendonly is on; FLUSHALL would still undo what operators have set")
    elif redis.saves is None:
        yield warning(
            "appendonly is off, and it does not tell whether it saves snapshots",
            f"see that it does: a restart without any loses {_HELD}",
        )
    elif redis.saves:
        yield warning(
            f"appendonly is off; it saves snapshots ({redis.saves})",
            f"set appendonly yes: a crash loses {_HELD} since the last snapshot",
        )
    else:
        yield problem("nothing is kept over a restart", f"set appendonly yes: a restart loses {_HELD}")


def memory(facts: Facts) -> Iterator[Verdict]:
    """Redis removes nothing by itself when its memory is full."""
    redis = facts.redis.get()
    if redis.eviction == "noeviction" or not redis.most_memory:
        yield ok(f"maxmemory-policy {redis.eviction}, maxmemory {redis.most_memory or 'none'}")
    elif redis.eviction.startswith("volatile"):
        yield warning(
            f"maxmemory-policy {redis.eviction}: when full it forgets tokens and task records",
            "set maxmemory-policy noeviction",
        )
    else:
        yield problem(
            f"maxmemory-policy {redis.eviction}: when full it forgets anything, {_HELD} included",
            "set maxmemory-policy noeviction",
        )


def clock(facts: Facts) -> Iterator[Verdict]:
    """This machine's clock shows what Redis' shows."""
    ahead = facts.redis.get().ahead
    said = f"Redis' is {abs(ahead):.3f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    if abs(ahead) > _CLOCKS:
        yield warning(
            said,
            "set both by NTP: eta, expires and the oldest wait go by the machines' clocks, rates, signs of life and "
            "idle times by Redis', and a delayed task's queue may be removed before it is due",
        )
    else:
        yield ok(said)
