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
        recipe_tenants: the most tenants that the plain recipe is tried with.
        newcomers: samples of a newcomer's wait, of each kind.
        newcomer_backlogs: how many backlogged tenants there are beside it.
        newcomer_limit: seconds to wait for the newcomers' tasks after the last was submitted.
        quiet_tasks: tasks of the quiet tenants beside a noisy neighbour.
        noisy_tasks: tasks of the neighbour.
        noisy_limit: seconds to wait for the quiet ones' tasks after the last was submitted.
        zipf_tasks: tasks of the Zipf-distributed tenants.
        zipf_limit: seconds for them.
        share_seconds: seconds over which shares are measured.
        limit_seconds: seconds over which limits are measured.
        throttled: throttled tenants beside free ones.
    """

    name: str
    tasks: Mapping[int, int]
    rounds: Mapping[int, int]
    limit: float
    recipe_tenants: int
    newcomers: int
    newcomer_backlogs: tuple[int, ...]
    newcomer_limit: float
    quiet_tasks: int
    noisy_tasks: int
    noisy_limit: float
    zipf_tasks: int
    zipf_limit: float
    share_seconds: float
    limit_seconds: float
    throttled: int


QUICK: Final = Profile(
    name="quick",
    tasks={1: 20_000, 1000: 30_000, 10_000: 110_000},
    rounds={1: 3, 1000: 2},
    limit=30,
    recipe_tenants=1000,
    newcomers=100,
    newcomer_backlogs=(1000,),
    newcomer_limit=5,
    quiet_tasks=500,
    noisy_tasks=30_000,
    noisy_limit=5,
    zipf_tasks=10_000,
    zipf_limit=15,
    share_seconds=20,
    limit_seconds=10,
    throttled=100,
)

FULL: Final = Profile(
    name="full",
    tasks={1: 20_000, 10: 20_000, 100: 20_000, 1000: 60_000, 10_000: 120_000},
    rounds={1: 5, 10: 3, 100: 3, 1000: 5, 10_000: 3},
    limit=120,
    recipe_tenants=10_000,
    newcomers=300,
    newcomer_backlogs=(10, 100, 1000),
    newcomer_limit=60,
    quiet_tasks=500,
    noisy_tasks=30_000,
    noisy_limit=240,
    zipf_tasks=40_000,
    zipf_limit=120,
    share_seconds=60,
    limit_seconds=30,
    throttled=1000,
)

SMOKE: Final = replace(
    QUICK,
    name="smoke",
    tasks={1: 10_000, 500: 10_000},
    rounds={},
    limit=10,
    newcomers=20,
    quiet_tasks=50,
    noisy_tasks=2000,
    noisy_limit=2,
    zipf_tasks=2000,
    zipf_limit=5,
    share_seconds=3,
    limit_seconds=3,
    throttled=20,
)

PROFILES: Final = {profile.name: profile for profile in (QUICK, FULL, SMOKE)}
