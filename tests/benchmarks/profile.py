"""How much is measured: the quick profile, and the full one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Profile:
    """Sizes and limits of all workloads; times in seconds.

    Attributes:
        name: its name.
        tasks: tasks of the throughput workload, by the number of tenants.
        rounds: how often each of those is measured, by the number of tenants; others once.
        limit: seconds for one throughput cell.
        pace_tasks: tasks of each backlog whose paces are compared side by side.
        pace_rounds: in how many slices each of them is worked on, if it lasts.
        recipe_tenants: the numbers of tenants that the plain recipe is tried with, once each.
        ranch_tenants: the same for celery-ranch.
        ranch_tasks: tasks of celery-ranch.
        newcomers: samples of a newcomer's wait, of each kind.
        newcomer_backlogs: how many backlogged tenants there are beside it.
        newcomer_systems: the systems that newcomers come to.
        newcomer_limit: seconds to wait for the newcomers' tasks after the last was submitted.
        quiet_tasks: tasks of the quiet tenants beside a noisy neighbour.
        noisy_tasks: tasks of the neighbour.
        noisy_systems: the systems that have a noisy neighbour.
        noisy_limit: seconds to wait for the quiet ones' tasks after the last was submitted.
        zipf_tasks: tasks of the Zipf-distributed tenants.
        zipf_systems: the systems that serve them.
        zipf_limit: seconds for them.
        unweighted_systems: the systems whose shares are measured although they know no weights.
        share_seconds: seconds over which shares are measured.
        limit_seconds: seconds over which limits are measured.
        throttled: throttled tenants beside free ones.
        record_tasks: no-op tasks of a wave with task records, and of one without.
        record_rounds: how many of both waves.
        cost_tenants: tenants whose cost to the broker is measured.
        cost_idle: seconds over which its CPU is measured while nothing happens.
        cost_limit: seconds for declaring, subscribing to or filling their queues.
        start_tenants: tenant queues that a worker finds at its start.
        start_backlogged: those of them that are backlogged.
        start_limit: seconds for a worker to serve its share.
    """

    name: str
    tasks: Mapping[int, int]
    rounds: Mapping[int, int]
    limit: float
    pace_tasks: int
    pace_rounds: int
    recipe_tenants: tuple[int, ...]
    ranch_tenants: tuple[int, ...]
    ranch_tasks: int
    newcomers: int
    newcomer_backlogs: tuple[int, ...]
    newcomer_systems: tuple[str, ...]
    newcomer_limit: float
    quiet_tasks: int
    noisy_tasks: int
    noisy_systems: tuple[str, ...]
    noisy_limit: float
    zipf_tasks: int
    zipf_systems: tuple[str, ...]
    zipf_limit: float
    unweighted_systems: tuple[str, ...]
    share_seconds: float
    limit_seconds: float
    throttled: int
    record_tasks: int
    record_rounds: int
    cost_tenants: tuple[int, ...]
    cost_idle: float
    cost_limit: float
    start_tenants: int
    start_backlogged: int
    start_limit: float


_ALL: Final = ("fifo", "recipe", "ranch", "turns")

QUICK: Final = Profile(
    name="quick",
    tasks={1: 20_000, 200: 30_000, 1000: 30_000, 10_000: 110_000},
    rounds={},
    limit=20,
    pace_tasks=120_000,
    pace_rounds=7,
    recipe_tenants=(1000,),
    ranch_tenants=(1000,),
    ranch_tasks=500,
    newcomers=200,
    newcomer_backlogs=(1000,),
    newcomer_systems=("recipe", "turns"),
    newcomer_limit=5,
    quiet_tasks=500,
    noisy_tasks=30_000,
    noisy_systems=("fifo", "turns"),
    noisy_limit=2,
    zipf_tasks=10_000,
    zipf_systems=("fifo", "turns"),
    zipf_limit=15,
    unweighted_systems=(),
    share_seconds=20,
    limit_seconds=8,
    throttled=1000,
    record_tasks=10_000,
    record_rounds=3,
    cost_tenants=(100, 1000, 10_000),
    cost_idle=15,
    cost_limit=180,
    start_tenants=10_000,
    start_backlogged=500,
    start_limit=60,
)

FULL: Final = Profile(
    name="full",
    tasks={1: 20_000, 10: 20_000, 100: 20_000, 200: 40_000, 1000: 60_000, 10_000: 300_000},
    rounds={1: 5, 10: 3, 100: 3, 200: 3, 1000: 5, 10_000: 3},
    limit=120,
    pace_tasks=300_000,
    pace_rounds=25,
    recipe_tenants=(1, 10, 100, 1000, 10_000),
    ranch_tenants=(1, 10, 100, 1000),
    ranch_tasks=1000,
    newcomers=500,
    newcomer_backlogs=(10, 100, 1000),
    newcomer_systems=_ALL,
    newcomer_limit=60,
    quiet_tasks=500,
    noisy_tasks=30_000,
    noisy_systems=_ALL,
    noisy_limit=240,
    zipf_tasks=40_000,
    zipf_systems=("fifo", "recipe", "turns"),
    zipf_limit=120,
    unweighted_systems=("fifo", "recipe"),
    share_seconds=60,
    limit_seconds=30,
    throttled=1000,
    record_tasks=20_000,
    record_rounds=7,
    cost_tenants=(100, 1000, 10_000, 50_000),
    cost_idle=15,
    cost_limit=600,
    start_tenants=10_000,
    start_backlogged=500,
    start_limit=60,
)

SMOKE: Final = replace(
    QUICK,
    name="smoke",
    tasks={1: 10_000, 500: 10_000},
    rounds={},
    limit=10,
    pace_tasks=20_000,
    pace_rounds=1,
    newcomers=10,
    noisy_systems=_ALL,
    quiet_tasks=50,
    noisy_tasks=2000,
    noisy_limit=2,
    zipf_tasks=2000,
    zipf_limit=5,
    share_seconds=3,
    limit_seconds=3,
    throttled=20,
    record_tasks=2000,
    record_rounds=1,
    cost_tenants=(100,),
    cost_idle=2,
    start_tenants=1000,
    start_backlogged=50,
    start_limit=20,
)

PROFILES: Final = {profile.name: profile for profile in (QUICK, FULL, SMOKE)}
