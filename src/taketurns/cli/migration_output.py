"""How the commands that move backlogs count them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taketurns.cli.output import print_table

if TYPE_CHECKING:
    from collections.abc import Mapping


NOTHING_MOVED: Final = "Interrupted: nothing was moved."
"""What is said after Ctrl-C before the first message."""


def tasks(number: int) -> str:
    """Return ``1 task``, ``2 tasks``."""
    return f"{number} task{'' if number == 1 else 's'}"


def print_counts(**columns: Mapping[str, int]) -> None:
    """Print how many tasks of each tenant there are, a column each, those with the most first."""
    totals: dict[str, int] = {}
    for counts in columns.values():
        for tenant, count in counts.items():
            totals[tenant] = totals.get(tenant, 0) + count
    rows = sorted(totals, key=lambda tenant: (-totals[tenant], tenant))
    if rows:
        print_table(
            ("tenant", *columns),
            ((tenant, *(counts.get(tenant, 0) for counts in columns.values())) for tenant in rows),
        )
