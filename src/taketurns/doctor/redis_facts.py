"""What Redis tells of itself, and what taketurns knows by it of workers and reapers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from taketurns.reaper.reaper import ROLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taketurns.extension import TakeTurns
    from taketurns.store import Client


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What was told.

    Attributes:
        version: its version.
        appends: whether every write goes to its append-only file.
        saves: when it saves snapshots, as in its configuration; None: it does not tell.
        most_memory: bytes that it may use; 0: no maximum.
        eviction: what it removes when that is reached.
        ahead: seconds by which its clock is ahead of this machine's; less than nothing: behind.
        workers: the live workers that serve tenants.
        lost: those that went without a farewell.
        reaper: the active reaper, if any.
        schedules: how many schedules tenants have.
        beat: the beat that submits their tasks, if any.
    """

    version: str
    appends: bool
    saves: str | None
    most_memory: int
    eviction: str
    ahead: float
    workers: Sequence[str]
    lost: Sequence[str]
    reaper: str | None
    schedules: int
    beat: str | None


def gather(turns: TakeTurns) -> RedisFacts:
    """Ask for all of it.

    Raises:
        RegistryUnavailable: Redis is away.
    """
    info, saves, ahead = turns.store.call(_server)
    registry = turns.registry
    return RedisFacts(
        version=str(info["redis_version"]),
        appends=bool(info.get("aof_enabled")),
        saves=saves,
        most_memory=int(info.get("maxmemory", 0)),
        eviction=str(info.get("maxmemory_policy", "unknown")),
        ahead=ahead,
        workers=registry.workers(),
        lost=registry.lost_workers(),
        reaper=registry.leader(ROLE),
        schedules=turns.schedules.book.count(),
        beat=turns.schedules.beat(),
    )


def _server(redis: Client) -> tuple[dict[str, Any], str | None, float]:
    info = redis.info()
    try:
        saves = str(redis.config_get("save")["save"])
    except (ResponseError, KeyError):  # hosted ones allow no CONFIG
        saves = None
    before = time.time()
    seconds, microseconds = redis.time()
    here = (before + time.time()) / 2
    return info, saves, seconds + microseconds / 1e6 - here
